"""Heads: surfaces, electrodes and sources of a person, and MNE's forward model of them."""
