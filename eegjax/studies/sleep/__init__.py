"""Sleep stages from multitaper images of one EEG channel.

Launer Baek, "Deep convolutional and recurrent neural networks for interpretable analysis of EEG sleep stage scoring",
on the method of Vilamala, Madsen & Hansen (2017): a VGG16 on the images, and a ConvLSTM on its pool5 maps.
"""
