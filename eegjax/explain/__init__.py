"""What a network looks at: its gradient in its input, and the activations of its layers."""

from typing import TYPE_CHECKING

from eegjax import lazy

if TYPE_CHECKING:
    from eegjax.explain.activations import compute_activation_maps, vgg16_layers
    from eegjax.explain.sensitivity import accumulate, class_means, compute_gradients

__all__ = ["accumulate", "class_means", "compute_activation_maps", "compute_gradients", "vgg16_layers"]

if not TYPE_CHECKING:  # or any name would do
    __getattr__, __dir__ = lazy.attach(__name__, __file__)
