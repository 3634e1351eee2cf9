"""EEG deep learning in JAX and Flax: studies that reproduce, splits that don't leak, runs that resume."""

__version__ = "0.2.0.dev0"
