"""How a study's recordings become its dataset: locked, found or simulated, hashed, prepared once for all runs."""

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset, Part, prepare_dataset
from eegjax.errors import UserError
from eegjax.files import hash_file, locked

Hash = Callable[[Path], str]


def prepare(
    config: ConfigDict,
    name: str,
    find: Callable[[Path], Sequence[Any]],
    key: Callable[[Any, Hash], Any],
    make: Callable[[Any], Part],
    card: dict[str, Any],
) -> Dataset:
    """Make the dataset of a configuration, or find it made; a second run waits instead of making the same again.

    Args:
        config: of the run; datasets lie in `<config.run.root>/datasets`.
        name: of the dataset.
        find: (that folder) -> what there is to read, an item per recording.
        key: (item, hash of a file) -> all that the item's part depends on, JSON-like. A file is hashed once.
        make: item -> its part; runs in a thread.
        card: as `prepare_dataset` takes it.

    Raises:
        UserError: from `find` or `make`, or a full disk; finished parts stay.
    """
    root = Path(config.run.root) / "datasets"
    with locked(root / ".lock"):
        items = find(root)
        hash_once = cache(hash_file)
        keys = [key(item, hash_once) for item in items]
        return prepare_dataset(root, name, items, keys, make, card, config.run.workers)


def find_root(config: ConfigDict, simulate: Callable[[], Path], recordings: str) -> Path:
    """The folder of recordings: simulated now in the demo, `config.data.root` in other protocols.

    Args:
        config: of the run.
        simulate: makes the demo's recordings.
        recordings: what a root has to hold, and where that is had.

    Raises:
        UserError: the demo has a root, or another protocol has none.
    """
    if config.protocol == "demo":
        refuse_root(config)
        return simulate()
    if not config.data.root:
        raise UserError(
            "config.data.root is not set: this protocol needs recordings; give --config.data.root=FOLDER with "
            f"{recordings}, or run the demo, which needs none: eegjax run {config.study}"
        )
    return Path(config.data.root)


def refuse_root(config: ConfigDict) -> None:
    """Complain of a root given to the demo.

    Raises:
        UserError: `config.data.root` is set.
    """
    if config.data.root:
        raise UserError(
            f"config.data.root is {config.data.root}, but the demo simulates its data and needs no folder; for what is "
            f"in one name a protocol: eegjax run {config.study}:standard"
        )


def simulate_missing(
    wanted: Sequence[Hashable], is_there: Callable[[Any], bool], write: Callable[[Any], Any], what: str, workers: int
) -> None:
    """Write the simulated recordings that aren't there yet, several at once.

    Args:
        wanted: what names each of them.
        is_there: name -> whether it has been written.
        write: writes the recording of a name; runs in a thread.
        what: beside the progress bar.
        workers: number of threads.
    """
    from tqdm import tqdm

    missing = [one for one in wanted if not is_there(one)]
    with ThreadPoolExecutor(workers) as pool:
        list(tqdm(pool.map(write, missing), total=len(missing), desc=f"simulating {what}", disable=not missing))
