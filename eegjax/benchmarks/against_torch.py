"""A study's network in eegjax beside the same in PyTorch: equal outputs first, then time and memory."""

import importlib.util

import numpy as np

from eegjax.benchmarks import vgg16, vnet
from eegjax.benchmarks.rivals import PINNED, Rival, measure_interleaved
from eegjax.errors import UserError, check_choice

NETWORKS = {"sleep": vgg16.make_network(), "inverse": vnet.make_network()}  # study -> its network
CLOSE = 1e-3  # of the largest output: float32 sums in another order


def compare(study: str, batch: int | None, tuned: bool, rounds: int = 5) -> str:
    """The table of a study's network: milliseconds per step, the ratio, peak memory.

    Args:
        study: its name.
        batch: examples per step, or None for the network's own number.
        tuned: whether eegjax runs with `--cpu-tuning`; PyTorch runs as it comes, its threads pinned to cores.
        rounds: turns of each.

    Raises:
        UserError: `study` is none of `NETWORKS`, PyTorch isn't installed, or the outputs differ.
    """
    check_choice("--study", study, NETWORKS)
    if importlib.util.find_spec("torch") is None:
        raise UserError("--against=torch: PyTorch is not installed; pip install torch")
    network = NETWORKS[study]
    batch = network.batch if batch is None else batch
    ours = Rival("eegjax.benchmarks.network_jax", {}, network=network, batch=batch, tuned=tuned)
    theirs = Rival("eegjax.benchmarks.network_torch", PINNED, network=network, batch=batch)
    try:
        outputs = [np.asarray(rival.ask("value", "logits")) for rival in (ours, theirs)]
        difference = float(np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[1]).max())
        if not difference < CLOSE:
            raise UserError(f"{network.title}: outputs on the same weights differ by {difference:.1e} of the largest")
        of = f"{network.title}, {ours.ask('value', 'n_parameters'):,} parameters, batch {batch}"
        lines = [f"{of}; outputs equal to {difference:.0e} of the largest."]
        lines += [rival.ask("value", "settings") for rival in (ours, theirs)]
        pinned = " ".join(f"{key}={value}" for key, value in PINNED.items())
        lines += [
            f"torch's environment: {pinned}",
            "",
            "| step | eegjax | torch | eegjax / torch |",
            "|---|---|---|---|",
        ]
        for what in ("inference", "training"):
            mine, other = measure_interleaved((ours, theirs), what, rounds)
            lines.append(f"| {what}, ms | {1e3 * mine:.0f} | {1e3 * other:.0f} | {mine / other:.2f} |")
        mine, other = (rival.ask("peak_bytes") / 2**30 for rival in (ours, theirs))
        lines.append(f"| peak memory, GiB | {mine:.2f} | {other:.2f} | {mine / other:.2f} |")
    finally:
        ours.close()
        theirs.close()
    return "\n".join(lines)
