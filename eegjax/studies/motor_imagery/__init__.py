"""Which movement a person imagines, from 22 EEG channels.

Shi, Shi, Liu & Li, "Recurrent neural networks and hybrid of variational autoencoder and CNN approaches on
classification of electroencephalography data", on BCI Competition IV 2a; the same models on PhysioNet's EEGMMIDB.
"""
