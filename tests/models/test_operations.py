"""Fast forms equal plain ones in value and both gradients, whatever the shape; and where which form is chosen."""

import logging
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from eegjax.models import layers, operations

RNG = np.random.default_rng(0)


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def dimension_numbers(n: int) -> tuple[str, str, str]:
    space = "DHW"[3 - n :]
    return f"N{space}C", f"{space}IO", f"N{space}C"


def parts(form: str, function: Any, *operands: jax.Array) -> list[np.ndarray]:
    """The value and the gradients for all operands, under a random gradient of the value."""
    with operations.use_form(form):
        value, back = jax.vjp(lambda *given: function(*given), *operands)
        gradient = jnp.asarray(np.random.default_rng(1).normal(size=value.shape), jnp.float32)
        return [np.asarray(array) for array in (value, *back(gradient))]


def assert_close(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5 * max(np.abs(other).max(), 1))


def convolution(case: dict[str, Any]) -> Any:
    def function(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return operations.convolution(
            x,
            kernel,
            case["strides"],
            case["padding"],
            rhs_dilation=case["dilation"],
            feature_group_count=case["groups"],
        )

    return function


def by_xla(case: dict[str, Any]) -> Any:
    n = len(case["strides"])

    def function(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            case["strides"],
            case["padding"],
            rhs_dilation=case["dilation"],
            dimension_numbers=dimension_numbers(n),
            feature_group_count=case["groups"],
        )

    return function


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.sampled_from((1, 2, 3)))
    axes = st.integers(1, 4 if n == 3 else 5)
    kernel = tuple(draw(axes) for _ in range(n))
    strides = draw(st.sampled_from(((1,) * n, (2,) * n, (3,) * n, kernel)))
    dilation = draw(st.sampled_from(((1,) * n, (2,) * n)))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    # wider than the kernel reaches, XLA's own gradient on a CPU reads what lies beside the array
    ends = [st.integers(0, min(3, r - 1)) for r in reach]
    padding = draw(st.sampled_from(("SAME", "VALID", tuple((draw(end), draw(end)) for end in ends))))
    space = tuple(r + draw(st.integers(0, 6)) for r in reach)
    channels, features = draw(st.sampled_from((1, 2, 6))), draw(st.sampled_from((1, 5)))
    depthwise = draw(st.booleans())
    return {
        "x": (draw(st.sampled_from((1, 3))), *space, channels),
        "kernel": (*kernel, 1 if depthwise else channels, channels if depthwise else features),
        "strides": strides,
        "dilation": dilation,
        "padding": padding,
        "groups": channels if depthwise else 1,
    }


@settings(max_examples=40)
@given(cases())
def test_every_convolution_equals_the_plain_one(case: dict[str, Any]) -> None:
    operands = normal(*case["x"]), normal(*case["kernel"])
    assert_close(parts("fast", convolution(case), *operands), parts("plain", by_xla(case), *operands))


LARGE = {  # shapes for which the forms that are chosen by size run
    "rows of an image": ((2, 23, 31, 64), (3, 3, 64, 64), 1, 1),
    "few values per window": ((2, 29, 27, 3), (3, 3, 3, 64), 1, 1),
    "one channel": ((2, 40, 3, 1), (9, 1, 1, 7), 1, 1),
    "slab by slab": ((1, 11, 12, 13, 6), (3, 5, 3, 6, 4), 1, 1),
    "one-channel volume": ((2, 9, 12, 11, 1), (5, 5, 5, 1, 3), 1, 1),
    "few voxels": ((2, 7, 8, 9, 6), (3, 3, 3, 6, 5), 1, 1),
    "depthwise, stride 2": ((3, 33, 17, 10), (5, 5, 1, 10), 2, 10),
    "one window": ((3, 7, 7, 12), (7, 7, 12, 5), 1, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_forms_of_large_shapes_equal_the_plain_ones(name: str) -> None:
    x, kernel, stride, groups = LARGE[name]
    n = len(x) - 2
    padding = "VALID" if name == "one window" else "SAME"
    case = {"strides": (stride,) * n, "padding": padding, "dilation": (1,) * n, "groups": groups}
    operands = normal(*x), normal(*kernel)
    assert_close(parts("fast", convolution(case), *operands), parts("plain", by_xla(case), *operands))


@pytest.mark.parametrize("kernel", [(2, 2, 2), (3, 1), (4,)])
def test_a_transposed_convolution_equals_flax(kernel: tuple[int, ...]) -> None:
    n = len(kernel)
    x = normal(2, *(5, 3, 4)[:n], 6)
    ours = layers.conv_transpose(7, kernel)
    variables = ours.init(jax.random.key(0), x)
    theirs = nn.ConvTranspose(7, kernel, strides=kernel, padding="VALID")
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, theirs.init(jax.random.key(0), x))
    variables["params"]["bias"] = jnp.arange(7.0)
    fast = parts(
        "fast",
        lambda x, kernel: operations.transposed_convolution(x, kernel, kernel.shape[:n]),
        x,
        variables["params"]["kernel"],
    )
    plain = parts(
        "plain",
        lambda x, kernel: operations.transposed_convolution(x, kernel, kernel.shape[:n]),
        x,
        variables["params"]["kernel"],
    )
    assert_close(fast, plain)
    with operations.use_form("fast"):
        np.testing.assert_allclose(ours.apply(variables, x), theirs.apply(variables, x), atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "strides"), [((2, 2), (2, 2)), ((6,), (3,)), ((3, 2), (2, 1)), ((2, 3, 2), (3, 2, 2))]
)
def test_a_pool_and_its_gradient_equal_the_plain_one_with_ties(
    kernel: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    x = jnp.round(normal(2, *(13, 9, 8)[: len(kernel)], 3))  # rounded: ties in most windows

    def pooled(x: jax.Array) -> jax.Array:
        return operations.max_pool(x, kernel, strides)

    fast, plain = parts("fast", pooled, x), parts("plain", pooled, x)
    assert np.array_equal(fast[0], plain[0])
    np.testing.assert_allclose(fast[1], plain[1], atol=1e-6)


def test_what_is_not_a_number_is_seen_through_every_form() -> None:
    x = normal(1, 9, 9, 4).at[0, 4, 4, 1].set(jnp.nan)
    kernel = normal(3, 3, 1, 4).at[0, 0, 0, 0].set(jnp.nan)
    case = {"strides": (1, 1), "padding": "SAME", "dilation": (1, 1), "groups": 4}
    fast, plain = (parts(form, convolution(case), x, kernel) for form in ("fast", "plain"))
    for one, other in zip(fast, plain, strict=True):
        assert np.array_equal(np.isnan(one), np.isnan(other))


# ---- which form


def primitives(function: Any, *operands: jax.Array) -> str:
    return str(jax.make_jaxpr(lambda *given: function(*given))(*operands))


DEPTHWISE = {"strides": (1, 1), "padding": "SAME", "dilation": (1, 1), "groups": 4}


def test_one_cpu_device_gets_the_fast_form_and_several_the_plain_one() -> None:
    operands = normal(4, 9, 9, 4), normal(3, 3, 1, 4)
    assert "conv_general_dilated" not in primitives(convolution(DEPTHWISE), *operands)
    for shape, names in (((4, 1), "plain"), ((1, 4), "plain"), ((1, 1), "fast")):
        n_devices = shape[0] * shape[1]
        mesh = jax.make_mesh(
            shape, ("data", "space"), devices=jax.devices()[:n_devices], axis_types=(AxisType.Auto,) * 2
        )
        with jax.set_mesh(mesh):
            text = primitives(convolution(DEPTHWISE), *operands)
        assert ("conv_general_dilated" in text) == (names == "plain")


def test_half_precision_and_precise_products_get_the_plain_form() -> None:
    x, kernel = normal(1, 9, 9, 4), normal(3, 3, 1, 4)
    assert "conv_general_dilated" in primitives(
        convolution(DEPTHWISE), x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    )
    assert "conv_general_dilated" in primitives(
        lambda x, kernel: operations.convolution(
            x, kernel, (1, 1), "SAME", feature_group_count=4, precision=lax.Precision.HIGHEST
        ),
        x,
        kernel,
    )


def test_an_accelerator_gets_the_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "conv_general_dilated" in primitives(convolution(DEPTHWISE), normal(1, 9, 9, 4), normal(3, 3, 1, 4))
    assert "reduce_window" in primitives(lambda x: operations.max_pool(x, (2, 2), (2, 2)), normal(1, 8, 8, 2))


@pytest.mark.slow
def test_members_as_one_program_get_the_plain_form_and_its_gradients() -> None:
    x, kernels = normal(1, 9, 9, 4), normal(3, 3, 3, 1, 4)

    def gradients(x: jax.Array, kernel: jax.Array) -> Any:
        return jax.grad(
            lambda *o: jnp.sum(operations.max_pool(convolution(DEPTHWISE)(*o), (2, 2), (2, 2)) ** 2), (0, 1)
        )(x, kernel)

    mapped = jax.vmap(gradients, (None, 0))
    text = primitives(mapped, x, kernels)
    assert "conv_general_dilated" in text
    assert "cond" not in text
    for number, kernel in enumerate(kernels):
        assert_close([leaf[number] for leaf in mapped(x, kernels)], list(gradients(x, kernel)))


def test_the_fence_outlives_the_compiler() -> None:
    x, kernel = normal(2, 16, 16, 8), normal(3, 3, 1, 8)
    compiled = jax.jit(lambda x, kernel: convolution({**DEPTHWISE, "groups": 8})(nn.relu(x), kernel)).lower(x, kernel)
    assert "conditional" in compiled.compile().as_text()


def test_a_batch_over_devices_gives_what_one_device_gives() -> None:
    mesh = jax.make_mesh((4, 1), ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    x, kernel = normal(4, 12, 12, 64), normal(3, 3, 64, 64)
    case = {"strides": (1, 1), "padding": "SAME", "dilation": (1, 1), "groups": 1}
    alone = parts("fast", convolution(case), x, kernel)
    with jax.set_mesh(mesh):
        spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
        assert_close(parts("", convolution(case), spread, kernel), alone)


def test_the_choice_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    operations._say.cache_clear()
    with caplog.at_level(logging.WARNING, "eegjax"):
        for _ in range(2):
            operations.max_pool(normal(1, 8, 8, 2), (2, 2), (2, 2))
    assert [record.message for record in caplog.records] == ["form of convolutions and pools: fast, for one CPU device"]
