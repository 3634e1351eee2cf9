"""BCI Competition IV 2a: four imagined movements of nine people; its forms of files, and sessions simulated like it."""

from eegjax.data.bci_iv_2a.reader import CH_NAMES, CLASSES, PARTS, find, read

__all__ = ["CH_NAMES", "CLASSES", "PARTS", "find", "read"]
