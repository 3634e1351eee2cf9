"""Imagined movements from 22 EEG channels: ConvNet, ResNet-1D, VAE, CNN + LSTM / GRU / RNN, and the field's networks.

    python launch/main.py --config=configs/motor_imagery.py                demo: simulated people
    python launch/main.py --config=configs/motor_imagery.py:standard,dataset=eegmmidb --config.data.root=FOLDER
    python launch/main.py --config=configs/motor_imagery.py:standard --config.data.root=FOLDER     BCI IV 2a, T to E
    python launch/main.py --config=configs/motor_imagery.py:paper --config.data.root=FOLDER        the course release

Keys: dataset=bci_iv_2a|eegmmidb, splits=official|loso|within|run|pooled, model=NAME, size=tiny|small|full.
"""

from eegjax.studies.motor_imagery.config import get_config

__all__ = ["get_config"]
