"""Where in the head a scalp voltage comes from, as points in a volume.

Kalinichenko, Kozhevnikov & Tikhonov, "3D CNNs as the solution for inverse EEG problem" (2023): V-Net and 3D U-Net on
voxels, here on heads and brain states simulated with MNE's forward models, beside the classical inverses.
"""
