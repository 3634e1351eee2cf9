"""Kept features: computed once, continued after a kill, never half a file, never two writers at once."""

import io
import resource
import threading

import ml_dtypes
import numpy as np
import pytest

from eegjax.errors import UserError
from eegjax.train.features import hash_of_arrays, load_or_compute

SHAPE = (3, 2)
ROW_BYTES = 3 * 2 * 4


def features_of(rows):
    return np.sin(rows[:, None, None] * 7.0 + np.arange(6).reshape(SHAPE))


class Backbone:
    """Computes features, remembers the rows it was asked for, and may be ended."""

    def __init__(self, n_calls=1000):
        self.calls, self.n_calls = [], n_calls

    def __call__(self, rows):
        if len(self.calls) == self.n_calls:
            raise KeyboardInterrupt
        self.calls.append(rows.tolist())
        return features_of(rows)

    def rows(self):
        return [row for call in self.calls for row in call]


def names(folder):
    return {path.name for path in folder.iterdir()} - {".maps.npy.lock"}


def test_computed_in_order_once_and_read_from_the_file_after_that(tmp_path):
    path, backbone = tmp_path / "new" / "maps.npy", Backbone()
    found = load_or_compute(path, 8, SHAPE, backbone, 3, "features")
    assert backbone.calls == [[0, 1, 2], [3, 4, 5], [6, 7, 7]]  # one compiled shape is enough
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, features_of(np.arange(8)).astype(np.float32))
    assert names(path.parent) == {"maps.npy"}
    again = load_or_compute(path, 8, SHAPE, Backbone(0), 5, "features")
    np.testing.assert_array_equal(again, found)
    np.testing.assert_array_equal(np.load(path), found)
    assert isinstance(again, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 0


@pytest.mark.parametrize("n_rows", [1, 4, 5])
def test_any_number_of_rows(tmp_path, n_rows):
    found = load_or_compute(tmp_path / "maps.npy", n_rows, SHAPE, features_of, 4, "features")
    np.testing.assert_array_equal(found, features_of(np.arange(n_rows)).astype(np.float32))


def test_bfloat16_is_kept_exactly(tmp_path):
    def compute(rows):
        return features_of(rows).astype(ml_dtypes.bfloat16)

    found = load_or_compute(tmp_path / "maps.npy", 4, SHAPE, compute, 2, "features")
    np.testing.assert_array_equal(found, compute(np.arange(4)).astype(np.float32))


@pytest.mark.parametrize("n_calls", [0, 1, 2, 3])
def test_a_killed_computation_continues(tmp_path, n_calls):
    path = tmp_path / "maps.npy"
    with pytest.raises(KeyboardInterrupt):
        load_or_compute(path, 11, SHAPE, Backbone(n_calls), 3, "features")
    assert names(tmp_path) == {".maps.npy.part"}
    backbone = Backbone()
    found = load_or_compute(path, 11, SHAPE, backbone, 3, "features")
    assert backbone.rows()[: 11 - 3 * n_calls] == list(range(3 * n_calls, 11))
    assert len(backbone.calls) == 4 - n_calls
    whole = load_or_compute(tmp_path / "whole.npy", 11, SHAPE, features_of, 3, "features")
    assert found.tobytes() == whole.tobytes()
    assert path.read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert not (tmp_path / ".maps.npy.part").exists()


@pytest.mark.parametrize(
    ("n_bytes", "first"),
    [
        (0, 0),  # nothing, half a header, the header alone
        (50, 0),
        (128, 0),
        (128 + 2 * ROW_BYTES, 0),  # less than a chunk
        (128 + 5 * ROW_BYTES + 7, 3),  # a chunk, two rows and a bit
        (128 + 6 * ROW_BYTES, 6),
        (128 + 9 * ROW_BYTES, 9),  # killed before it was renamed
    ],
)
def test_a_part_cut_anywhere_continues_at_its_last_whole_chunk(tmp_path, n_bytes, first):
    whole = load_or_compute(tmp_path / "whole.npy", 9, SHAPE, features_of, 3, "features")
    content = (tmp_path / "whole.npy").read_bytes()
    assert len(content) == 128 + 9 * ROW_BYTES
    (tmp_path / ".maps.npy.part").write_bytes(content[:n_bytes])
    backbone = Backbone()
    found = load_or_compute(tmp_path / "maps.npy", 9, SHAPE, backbone, 3, "features")
    assert backbone.rows() == list(range(first, 9))
    np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize(
    "other", [np.zeros((9, 2, 3), np.float32), np.zeros((9, 3, 2)), np.zeros((8, 3, 2), np.float32)]
)
def test_a_part_of_something_else_is_thrown_away(tmp_path, other):
    buffer = io.BytesIO()
    np.save(buffer, other)
    (tmp_path / ".maps.npy.part").write_bytes(buffer.getvalue())
    backbone = Backbone()
    found = load_or_compute(tmp_path / "maps.npy", 9, SHAPE, backbone, 3, "features")
    assert len(backbone.calls) == 3
    np.testing.assert_array_equal(found, features_of(np.arange(9)).astype(np.float32))


def test_a_full_disk_is_one_error_and_what_is_there_is_kept(tmp_path):
    """A limit on files' sizes stands for the disk's: the write that crosses it is cut short in the middle of a row."""
    path, shape = tmp_path / "maps.npy", (1000, 100)

    def compute(rows):
        calls.append(rows[0])
        return np.ones((len(rows), *shape)) * rows[:, None, None]

    calls, (soft, hard) = [], resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_500_000, hard))
    try:
        with pytest.raises(UserError, match=r"maps.npy: the disk is full \(.*\); .* free some space") as error:
            load_or_compute(path, 8, shape, compute, 2, "features")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    assert (tmp_path / ".maps.npy.part").stat().st_size == 2_500_000
    assert not path.exists()
    assert calls == [0, 2, 4, 6][: len(calls)]
    calls.clear()
    found = load_or_compute(path, 8, shape, compute, 2, "features")
    assert calls == [6]
    np.testing.assert_array_equal(found[:, 0, 0], np.arange(8))


def test_a_second_run_waits_and_computes_nothing(tmp_path):
    path, begun, go_on = tmp_path / "maps.npy", threading.Event(), threading.Event()
    second, found = Backbone(0), []

    def slowly(rows):
        begun.set()
        assert go_on.wait(10)
        return features_of(rows)

    threads = [
        threading.Thread(
            target=lambda compute=compute: found.append(load_or_compute(path, 4, SHAPE, compute, 2, "features"))
        )
        for compute in (slowly, second)
    ]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    threads[1].join(0.3)
    assert threads[1].is_alive()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(found) == 2
    assert second.calls == []
    np.testing.assert_array_equal(found[0], found[1])


def test_a_backbone_of_another_shape_is_an_error(tmp_path):
    for compute in (lambda rows: np.zeros((len(rows), 2, 3)), lambda rows: features_of(rows[:1])):
        with pytest.raises(ValueError, match=r"features of 2 rows have the shape .*, not \(2, 3, 2\)"):
            load_or_compute(tmp_path / "maps.npy", 4, SHAPE, compute, 2, "features")


def test_a_file_that_is_not_the_features_is_one_error(tmp_path):
    path = tmp_path / "maps.npy"
    whole = load_or_compute(path, 4, SHAPE, features_of, 2, "features")
    content = path.read_bytes()
    for wrong in (b"", b"nothing", content[:-5]):
        path.write_bytes(wrong)
        with pytest.raises(UserError, match=r"maps.npy: not readable as .npy .*; delete it"):
            load_or_compute(path, 4, SHAPE, Backbone(0), 2, "features")
    np.save(path, np.zeros((4, 3, 2)))
    with pytest.raises(UserError, match=r"holds float64 \(4, 3, 2\), expected float32 \(4, 3, 2\); delete it"):
        load_or_compute(path, 4, SHAPE, Backbone(0), 2, "features")
    assert whole.shape == (4, 3, 2)


def test_hashes_stand_for_paths_shapes_dtypes_and_values():
    tree = {"b": {"kernel": np.arange(6.0).reshape(2, 3)}, "a": [np.float32(1), np.zeros(2, ml_dtypes.bfloat16)]}
    digest = hash_of_arrays(tree)
    assert len(digest) == 16
    assert int(digest, 16) >= 0
    transposed = np.asfortranarray(tree["b"]["kernel"])
    assert hash_of_arrays({"a": tree["a"], "b": {"kernel": transposed}}) == digest
    kernel = tree["b"]["kernel"]
    others = [
        {**tree, "b": {"kernel": kernel.T}},
        {**tree, "b": {"kernel": kernel.reshape(3, 2)}},
        {**tree, "b": {"kernel": kernel.view(np.int64)}},
        {**tree, "b": {"kernel": np.nextafter(kernel, 9)}},
        {**tree, "b": {"bias": kernel}},
        {**tree, "c": np.zeros(0)},
        {**tree, "a": tree["a"][::-1]},
    ]
    assert len({digest, *map(hash_of_arrays, others)}) == 1 + len(others)
