"""Architectures: networks over trials, images, sequences and volumes, and the layers they are made of.

Every network takes channels last and returns float32 logits.
"""

from typing import TYPE_CHECKING

from eegjax import lazy

if TYPE_CHECKING:
    from eegjax.models import layers
    from eegjax.models.cnn_rnn import CNNRNN
    from eegjax.models.conv_net import ConvNet
    from eegjax.models.deep4 import Deep4Net
    from eegjax.models.eegnet import EEGNet
    from eegjax.models.lstm import RawLSTM
    from eegjax.models.pretrained import load_vgg16
    from eegjax.models.resnet_1d import ResNet1D
    from eegjax.models.shallow import ShallowConvNet
    from eegjax.models.unet_3d import UNet3D
    from eegjax.models.vae import VAE
    from eegjax.models.vae_classifier import VAEClassifier
    from eegjax.models.vgg import VGG16, VGG16Features
    from eegjax.models.vgg_conv_lstm import ConvLSTM, VGG16ConvLSTM
    from eegjax.models.vnet import VNet

__all__ = [
    "CNNRNN",
    "VAE",
    "VGG16",
    "ConvLSTM",
    "ConvNet",
    "Deep4Net",
    "EEGNet",
    "RawLSTM",
    "ResNet1D",
    "ShallowConvNet",
    "UNet3D",
    "VAEClassifier",
    "VGG16ConvLSTM",
    "VGG16Features",
    "VNet",
    "layers",
    "load_vgg16",
]

if not TYPE_CHECKING:  # or any name would do
    __getattr__, __dir__ = lazy.attach(__name__, __file__)
