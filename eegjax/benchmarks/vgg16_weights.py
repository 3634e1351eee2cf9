"""VGG16's input and weights by torch's names, from NumPy alone, so that both rivals have the same."""

import numpy as np

CHANNELS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: a max-pool
LINEAR = ((25088, 4096), (4096, 4096), (4096, 1000))
SIZE = 224


def weights() -> dict[str, np.ndarray]:
    """The state dict of torchvision's VGG16, He-scaled random numbers, float32."""
    rng, found, place, before = np.random.default_rng(0), {}, 0, 3
    for channels in CHANNELS:
        if channels:
            scale = (2 / (9 * before)) ** 0.5
            found[f"features.{place}.weight"] = rng.normal(0, scale, (channels, before, 3, 3)).astype(np.float32)
            found[f"features.{place}.bias"] = rng.normal(0, 0.1, channels).astype(np.float32)
            before = channels
        place += 2 if channels else 1  # a convolution and its ReLU, or a pool
    for number, (n_in, n_out) in enumerate(LINEAR):
        weight = rng.standard_normal((n_out, n_in), dtype=np.float32) * np.float32((2 / n_in) ** 0.5)
        name = f"classifier.{3 * number}"
        found |= {f"{name}.weight": weight, f"{name}.bias": np.zeros(n_out, np.float32)}
    return found


def examples(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [batch, 224, 224, 3] float32 and labels [batch] int64."""
    rng = np.random.default_rng(1)
    return rng.standard_normal((batch, SIZE, SIZE, 3), dtype=np.float32), rng.integers(0, 1000, batch)
