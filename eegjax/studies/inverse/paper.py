"""What the inverse paper prints of its metric, ours beside it, and what it did that the field holds to be wrong.

Kalinichenko, Kozhevnikov & Tikhonov, "3D CNNs as the solution for inverse EEG problem" (Skoltech, 2023).
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.evaluate.points import draw_random_points, f1_curve, mean_and_sd

RADII = tuple(range(10))  # voxels
N_TRUE = 66
N_VOXELS = 64  # true points of a sample, fitted to the curves below; voxels a side
RANDOM_POINTS = {  # F1 of m random points at each of the radii, from the authors' public repository
    10: (0.0, 0.0013, 0.0013, 0.0039, 0.0092, 0.0289, 0.0483, 0.0882, 0.1294, 0.1722),
    100: (0.0, 0.0016, 0.0054, 0.0289, 0.0643, 0.1213, 0.1905, 0.2900, 0.4021, 0.4898),
    1000: (0.0, 0.0032, 0.0180, 0.0493, 0.1022, 0.1816, 0.2649, 0.3480, 0.4223, 0.4758),
}
THRESHOLDS = {1: 0.72, 5: 0.63}  # of V-Net, classification, by `config.data.dilation`: plain and dilated points
N_DRAWN = {10: 300, 100: 300, 1000: 6}  # samples; a thousand points are clustered ten times over


class Published(NamedTuple):
    """What differs from network to network in the paper.

    batch_size: of the final training.
    search_batch_size: of the parameter search.
    """

    title: str
    weight_decay: float
    batch_size: int
    search_batch_size: int


NETWORKS = {"v_net": Published("V-Net", 1e-4, 40, 8), "u_net": Published("3D U-Net", 0.0, 48, 10)}


@cache
def random_curve(n_points: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """F1 of points drawn at random, as the authors measured it: mean and standard deviation over samples.

    Args:
        n_points: 10, 100 or 1000.
        seed: of the points.

    Returns:
        [n_radii] float64 each, at `RADII`.
    """
    rng = np.random.default_rng(seed)
    clustered = n_points > 100  # as the curves have it: with the authors' clustering, or none
    drawn = []
    for _ in range(N_DRAWN[n_points]):
        true, predicted = (draw_random_points(n, 0, N_VOXELS, rng) for n in (N_TRUE, n_points))
        drawn.append(f1_curve(true, predicted, RADII, "greedy", clustered=clustered, cumulative=clustered))
    return mean_and_sd(np.stack(drawn))


def metric() -> tuple[pd.DataFrame, list[str]]:
    """The authors' metric of random points above ours: a frame of text, two rows per number, and footnotes."""
    rows = []
    for n_points, published in RANDOM_POINTS.items():
        mean, sd = random_curve(n_points)
        ours = [f"{one:.3f} ± {spread:.3f}" for one, spread in zip(mean, sd, strict=True)]
        for source, cells in {"paper": [f"{one:.4f}" for one in published], "ours": ours}.items():
            columns = {f"radius {radius}": cell for radius, cell in zip(RADII, cells, strict=True)}
            rows.append({"random points": str(n_points), "F1 of": source, **columns})
    return pd.DataFrame(rows), [
        f"Paper: as in the authors' public code. Ours: mean ± sd over {N_DRAWN[10]} samples ({N_DRAWN[1000]} of 1000 "
        f"points) of {N_TRUE} true points, uniform in {N_VOXELS} x {N_VOXELS} x {N_VOXELS} voxels as are the others.",
        f"How many true points a sample has is not published: {N_TRUE} fit the curves. 10 and 100 points fit them "
        "unclustered, 1000 with the authors' clustering of clusters from radius to radius.",
        "One point may be counted for several true ones (greedy), Euclidean distance, F1 = 2 TP / (2 TP + FP + FN).",
    ]


def quirks(config: ConfigDict) -> list[str]:
    """What was done as in the paper although the field holds it to be wrong, or does otherwise: one footnote each."""
    found = _of_samples(config) | _of_points(config) | _of_training(config) | _of_networks(config)
    return [text for text, holds in found.items() if holds]


def _of_samples(config: ConfigDict) -> dict[str, bool]:
    """Footnote -> whether it holds: heads, samples and how they are split."""
    data = config.data
    splits = config.splits
    published = config.protocol == "paper"
    return {
        "Samples are split at random: those tested are of heads that were trained on.": splits.kind != "head",
        "Four fifths of the samples are for training, as in the authors' code; the paper says 3600 and 800 of 4000.": (
            published and splits.kind == "random" and splits.test_share == 0.2
        ),
        "The samples are those of the parameter search: all of them, tested ones too, lie inside the final training "
        "set.": splits.kind == "search",
        "Thresholds are chosen on samples kept from training; the paper's on those trained on.": (
            published and (splits.kind == "head" or splits.validation_share > 0)
        ),
        "The paper's heads are four MRI scans; here they are MNE's template and warps of it, or the folder's own. "
        "Zones are k-means clusters of the sources.": published,
        f"A sample has {data.zones.n_active} true points: the paper says about 1000, its curves of random points fit "
        "66.": published and data.sources == "zones" and data.zones.n_active != 1000,
        "Electrodes and sources are scaled to the grid apart, each axis by itself: how they lie to each other is "
        "lost.": data.scaling == "separate",
        "Each axis is scaled to the grid by itself, so that a voxel is no cube.": data.scaling == "paired",
        "Where points share a voxel, it holds the last one.": data.collisions == "last",
        "Where cubes overlap, the last one wins: the authors' code means to average them, but to no effect, for what "
        "it averages with is a view of voxels that it has just overwritten.": (
            data.collisions == "last" and data.dilation > 1
        ),
    }


def _of_points(config: ConfigDict) -> dict[str, bool]:
    """Of points and what is counted of them."""
    test = config.test
    published = config.protocol == "paper"
    dilation = config.data.dilation
    threshold = THRESHOLDS.get(dilation, 0)
    form = "plain" if dilation == 1 else "dilated"
    return {
        f"Points are cubes of {dilation} x {dilation} x {dilation} voxels; of predictions the centres are recovered "
        "before they are scored, where the paper scored the cubes.": dilation > 1,
        f"The paper's threshold for V-Net, classification, {form} is {threshold:g}, chosen on samples trained on "
        "by the area under F1 against radius; ours stands in the table.": (
            published and bool(threshold) and "v_net" in _names(config) and config.train.loss == "cross_entropy"
        ),
        "One prediction may be counted for several true points, so that F1 can be above 1.": test.matching == "greedy",
        "One prediction may find several true points, and is no false positive then (the authors' code).": (
            test.matching == "greedy_distinct"
        ),
        "Clusters of one radius are clustered again with the next: one of the authors' slips.": (
            "cumulative" in test.slips
        ),
        "Every clustering loses its last cluster: one of the authors' slips.": "drop_last" in test.slips,
        "Samples left without a prediction are missing from the means of F1 instead of counting 0: one of the authors' "
        "slips. Theirs goes further: it skips a sample whose TP, FP or FN, any one of them, is 0 at any radius.": (
            "skip_empty" in test.slips
        ),
        "Distances are Euclidean, as in the authors' code (the paper prints an L1 ball), and F1 = 2 TP / (2 TP + FP + "
        "FN), which the paper prints upside down.": published,
    }


def _of_training(config: ConfigDict) -> dict[str, bool]:
    """Of the loss and the optimiser."""
    train = config.train
    published = config.protocol == "paper"
    regression = train.loss in ("mse", "l1")
    how = "apart from the gradient (AdamW)" if train.decoupled_decay else "in the gradient, as torch's Adam has it"
    return {
        f"In the cross-entropy a voxel of background weighs {_share(train.class_weights)} of one with a source.": (
            train.loss == "cross_entropy" and len(train.class_weights) > 0
        ),
        f"Regression learns {train.target_factor:g} times the target.": regression and train.target_factor != 1,
        f"Regression learns {train.centre_value:g} in a ball around the grid's centre, up to the nearest source: the "
        "authors' code can do so with -20, the paper has no word of it.": regression and train.centre_value != 0,
        "U-Net normalises nothing.": "u_net" in _names(config) and config.model.norm == "none",
        "Gradients aren't clipped.": train.clip_norm == 0,
        f"Weights decay {how}; the authors' code never passed its decay on.": published and train.weight_decay > 0,
        "270 epochs, as the paper's methods say; its introduction says 170.": published and train.n_epochs == 270,
    }


def _of_networks(config: ConfigDict) -> dict[str, bool]:
    """Of what the paper says of each network."""
    train = config.train
    found = {}
    for name in _names(config) if config.protocol == "paper" else ():
        title, decay, final, searching = NETWORKS[name]
        batch = searching if config.splits.kind == "search" else final
        found[f"{title}: batches of {train.batch_size}, where the paper has {batch}."] = train.batch_size != batch
        found[f"{title}: a weight decay of {train.weight_decay:g}, where the paper has {decay:g}."] = (
            train.weight_decay != decay
        )
        found["V-Net: batches of 40, as in the paper's text; the authors' configurations say 48."] = (
            name == "v_net" and train.batch_size == batch == 40
        )
    return found


def _names(config: ConfigDict) -> tuple[str, ...]:
    """Of the networks that are trained."""
    return (config.model.name, *config.model.beside)


def _share(class_weights: tuple[float, ...]) -> str:
    """What background weighs against source."""
    return f"{class_weights[0] / class_weights[1]:g}" if len(class_weights) else ""
