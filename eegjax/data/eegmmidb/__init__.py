"""EEGMMIDB of PhysioNet: executed and imagined movements of 109 people."""

from eegjax.data.eegmmidb.reader import CLASSES, find, read

__all__ = ["CLASSES", "find", "read"]
