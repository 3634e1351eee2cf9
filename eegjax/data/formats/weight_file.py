"""Files of pretrained weights: name -> array."""

from pathlib import Path

import numpy as np

from eegjax.data.formats.torch_file import read_torch_file
from eegjax.errors import UserError

TORCH = (".pth", ".pt", ".bin")


def read_weights(path: Path | str) -> dict[str, np.ndarray]:
    """Read a state dict from `.safetensors`, or from torch's `.pth`, `.pt`, `.bin`.

    Returns:
        Name -> array [...], with the names, shapes and dtypes of the file.

    Raises:
        UserError: the file is missing, is of another kind, or is broken.
    """
    path = Path(path)
    if path.suffix not in (".safetensors", *TORCH):
        raise UserError(f"{path}: no file of weights by its name; expected .safetensors, {', '.join(TORCH)}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a state dict, or config.model.weights=none for random weights")
    try:
        return read_torch_file(path) if path.suffix in TORCH else _read_safetensors(path)
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror}); mend its permissions or copy it again") from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, TypeError, AttributeError) as error:  # the last two: a type that NumPy hasn't
        raise UserError(f"{path}: broken, or no .safetensors file ({error}); fetch it again") from error
