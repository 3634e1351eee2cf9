"""What the sleep paper prints, and its tables with our numbers beside its own.

Baek, "Deep convolutional and recurrent neural networks for interpretable analysis of EEG sleep stage scoring".
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.sleep_edf.reader import STAGES
from eegjax.evaluate.classification import balanced_one_vs_all, mean_of_defined, per_class
from eegjax.evaluate.paper_interval import compute_paper_interval


def _numbers(text: str) -> np.ndarray:
    return np.array([line.split() for line in text.strip().splitlines()], np.int64)


MODELS = {"vgg16": "CNN", "vgg16_conv_lstm": "RNN"}  # the paper's names of our networks
SHARES = np.array([12, 7, 46, 9, 6, 20])  # Table 1, per cent of 38,211 images
# Table 3, a row per true stage: counts, per cent of the row, then precision, sensitivity, F1 and accuracy in per cent
TABLE_3 = {
    "vgg16": _numbers("""
        495 145   29  11  1  20   71 21  4  2  0  3   91 71 80 93
         25 211   43   0  0  62    7 62 13  0  0 18   43 62 51 89
          4  51 1313 104 17  68    0  3 84  7  1  4   91 84 88 90
          0   2   11 164 64   0    0  1  5 68 27  0   49 68 57 93
          0   0    0  54 91   0    0  0  0 37 63  0   53 63 57 96
         17  80   46   0  0 591    2 11  6  0  0 81   80 81 80 92"""),
    "vgg16_conv_lstm": _numbers("""
        578  39   26   7  1  43   83  6  4  1  0  6   89 83 86 95
         38 107   64   0  0 132   11 31 19  0  0 39   55 31 40 91
          8  13 1314 102 28  92    1  1 84  7  2  6   90 84 87 89
          3   0   18 125 95   0    1  0  7 52 39  0   43 52 47 92
          0   0    1  60 84   0    0  0  1 41 58  0   40 58 48 95
         19  36   43   0  0 636    3  5  6  0  0 87   70 87 78 90"""),
}
CONFUSIONS = {model: table[:, :6] for model, table in TABLE_3.items()}
# the nights that Table 3 counts: no other two, three or four of the 39 have its numbers of N1, N2, N3, N4 and R
TABLE_3_NIGHTS = ("SC4182E0", "SC4191E0", "SC4192E0")
METRICS = {  # columns of `per_class`: the headings of Tables 3 and 4
    "precision": ("Pre.", "Precision"),
    "sensitivity": ("Sen.", "Sensitivity"),
    "f1": ("F1", "F1-score"),
    "one_vs_rest_accuracy": ("Acc.", "Accuracy"),
}
TABLE_4 = {  # low-mean-high in per cent, in the order of METRICS
    "vgg16": ("65.4-67.9-70.4", "70.9-71.3-71.8", "67.5-68.8-70.0", "92.3-92.3-92.4"),
    "vgg16_conv_lstm": ("61.9-64.6-67.2", "63.2-65.9-68.6", "61.8-64.2-66.6", "92.2-92.2-92.2"),
}
REFERENCE = {"precision": 0.91, "sensitivity": 0.73, "f1": 0.81, "accuracy": 0.83}  # Vilamala, Madsen & Hansen (2017)
MERGED = "The paper's N3 and N4 are merged into N3, the five stages of the AASM."
ONE_VS_REST = "Accuracy: one stage against the rest, (TP + TN) / n, as in the paper; chance alone reaches high values."
NAMES = "; ".join(f"{paper}: {ours}" for ours, paper in MODELS.items()) + "."
EVALUATED = (
    f"Paper: counts of the nights {', '.join(TABLE_3_NIGHTS)} (the RNN's without the last 7 epochs), which are its "
    "code's validation part and not the subject it tests on. That code numbers subjects by pairs of files, so that the "
    "first sleeper's other night, SC4181E0, was trained on."
)


def merge_stages(counts: np.ndarray) -> np.ndarray:
    """Add N4 to N3.

    Args:
        counts: [6] numbers per stage, or [6, 6] confusion matrix.

    Returns:
        [5] or [5, 5], in the order W, N1, N2, N3, R.
    """
    for axis in range(np.ndim(counts)):
        counts = np.add.reduceat(counts, [0, 1, 2, 3, 5], axis)
    return counts


def _stages(n_classes: int) -> tuple[str, ...]:
    if n_classes not in (len(STAGES), len(STAGES) - 1):
        raise ValueError(f"{n_classes} classes; the paper has 6 stages, or 5 once N3 and N4 are merged")
    return STAGES if n_classes == len(STAGES) else tuple(stage for stage in STAGES if stage != "N4")


def _like(published: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """The paper's numbers with as many stages as ours."""
    return published if len(ours) == len(STAGES) else merge_stages(published)


def _merged(arrays: Iterable[np.ndarray]) -> list[str]:
    """The footnote that is needed where N4 is missing."""
    return [MERGED] if any(len(array) < len(STAGES) for array in arrays) else []


def _percent(share: float, digits: int = 0) -> str:
    return "–" if np.isnan(share) else f"{100 * share:.{digits}f}"


def table_1(counts: np.ndarray) -> tuple[pd.DataFrame, list[str]]:
    """The paper's Table 1: how often each stage occurs.

    Args:
        counts: [6] (or [5], N3 and N4 merged) int, our epochs per stage.

    Returns:
        A frame of text (stage, paper %, ours %), and footnotes.

    Raises:
        ValueError: there are neither six nor five stages.
    """
    counts = np.asarray(counts)
    stages = _stages(len(counts))
    with np.errstate(invalid="ignore"):
        ours = [_percent(share, 1) for share in counts / counts.sum()]
    paper = [str(share) for share in _like(SHARES, counts)]
    frame = pd.DataFrame({"stage": stages, "paper %": paper, "ours %": ours})
    return frame, [f"Paper: 38211 images; ours: {counts.sum()} epochs.", *_merged([counts])]


def table_3(confusions: Mapping[str, np.ndarray]) -> tuple[pd.DataFrame, list[str]]:
    """The paper's Table 3: what each true stage was predicted as, the paper's row above ours.

    Args:
        confusions: model -> our [6, 6] (or [5, 5], N3 and N4 merged) int confusion matrix, rows true. Models that are
            not in `MODELS` have rows of ours only.

    Returns:
        A frame of text and footnotes. Columns: model, true stage, source (paper or ours), a count and a per cent of the
        row for each predicted stage, and Pre., Sen., F1 and Acc. in per cent.

    Raises:
        ValueError: there are neither six nor five stages.
    """
    rows: list[dict[str, str]] = []
    for model, ours in confusions.items():
        sources = {"paper": _like(CONFUSIONS[model], ours)} if model in CONFUSIONS else {}
        parts = [_stage_rows(model, source, matrix) for source, matrix in (sources | {"ours": ours}).items()]
        rows += [row for stage in zip(*parts, strict=True) for row in stage]
    return pd.DataFrame(rows), [NAMES, ONE_VS_REST, EVALUATED, *_merged(confusions.values())]


def _stage_rows(model: str, source: str, confusion: np.ndarray) -> list[dict[str, str]]:
    stages, scores = _stages(len(confusion)), per_class(confusion)
    with np.errstate(invalid="ignore"):
        shares = confusion / scores[["support"]].to_numpy()
    rows = []
    for number, stage in enumerate(stages):
        row = {"model": MODELS.get(model, model), "true stage": stage, "source": source}
        row |= {other: str(count) for other, count in zip(stages, confusion[number], strict=True)}
        row |= {f"{other} %": _percent(share) for other, share in zip(stages, shares[number], strict=True)}
        row |= {short: _percent(scores[metric][number]) for metric, (short, _) in METRICS.items()}
        rows.append(row)
    return rows


def table_4(
    confusions: Mapping[str, np.ndarray],
    intervals: Mapping[str, Mapping[str, tuple[float, float, float]]] | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """The paper's Table 4: means over the stages, each as low-mean-high in per cent.

    Args:
        confusions: model -> our [6, 6] (or [5, 5], N3 and N4 merged) int confusion matrix, rows true. Models that are
            not in `MODELS` have a row of ours only.
        intervals: model -> key of `METRICS` -> low, value and high of a bootstrap, as shares of 1; adds a column for
            each metric.

    Returns:
        A frame of text and footnotes. Rows for each model: as the paper prints it, as it follows from the paper's
        Table 3, and ours.

    Raises:
        ValueError: there are neither six nor five stages.
    """
    rows: list[dict[str, str]] = []
    titles = [long for _, long in METRICS.values()]
    for model, ours in confusions.items():
        named = {"model": MODELS.get(model, model)}
        if model in CONFUSIONS:
            printed = {"source": "paper" if len(_stages(len(ours))) == len(STAGES) else "paper, six stages"}
            rows.append(named | printed | dict(zip(titles, TABLE_4[model], strict=True)))
            rows.append(named | {"source": "paper, recomputed"} | _interval_cells(_like(CONFUSIONS[model], ours)))
        bootstrap = _bootstrap_cells((intervals or {}).get(model, {}))
        rows.append(named | {"source": "ours"} | _interval_cells(ours) | bootstrap)
    notes = [
        NAMES,
        "low-mean-high: mean over the stages ± sd x width of the central 95 % of bootstrap means over the stages. This "
        "product of two widths is the paper's and no confidence interval.",
        "Recomputed from the paper's Table 3 with all possible draws; the paper drew at random, without a seed.",
        ONE_VS_REST,
    ]
    notes += ["Bootstrap: low-value-high, 95 %, drawn as for the results instead of over stages."] if intervals else []
    return pd.DataFrame(rows).fillna(""), [*notes, *_merged(confusions.values())]


def _low_mean_high(numbers: tuple[float, float, float]) -> str:
    return "-".join(_percent(number, 1) for number in numbers)


def _interval_cells(confusion: np.ndarray) -> dict[str, str]:
    scores = per_class(confusion)
    return {
        long: _low_mean_high(compute_paper_interval(scores[metric].to_numpy())) for metric, (_, long) in METRICS.items()
    }


def _bootstrap_cells(intervals: Mapping[str, tuple[float, float, float]]) -> dict[str, str]:
    return {f"{METRICS[metric][1]}, bootstrap": _low_mean_high(numbers) for metric, numbers in intervals.items()}


def class_balanced(confusions: Mapping[str, np.ndarray]) -> tuple[pd.DataFrame, list[str]]:
    """The metric of the article that the paper builds on, which is not the paper's: five stages, each against the rest.

    Args:
        confusions: as for `table_4`.

    Returns:
        A frame of text, a row per model and source, and footnotes.
    """
    rows = [{"model": "reference article", "source": "printed"} | _shares(REFERENCE)]
    for model, ours in confusions.items():
        sources = {"paper, recomputed": CONFUSIONS[model]} if model in CONFUSIONS else {}
        for source, matrix in (sources | {"ours": ours}).items():
            merged = merge_stages(matrix) if len(matrix) == len(STAGES) else matrix
            means = {name: float(mean_of_defined(value)) for name, value in balanced_one_vs_all(merged).items()}
            rows.append({"model": MODELS.get(model, model), "source": source} | _shares(means))
    notes = [
        NAMES,
        "N3 and N4 are one stage; each stage against the rest, as if all were equally frequent; mean over stages.",
        "Reference article: Vilamala, Madsen & Hansen (2017).",
    ]
    return pd.DataFrame(rows), notes


def _shares(means: Mapping[str, float]) -> dict[str, str]:
    names = {"precision": "precision", "sensitivity": "sensitivity", "f1": "F1", "accuracy": "accuracy"}
    return {title: "–" if np.isnan(means[name]) else f"{means[name]:.3f}" for name, title in names.items()}


def quirks(config: ConfigDict) -> list[str]:
    """What was done as in the paper although the field holds it to be wrong: one footnote each."""
    data, train, model, test = config.data, config.train, config.model, config.test
    recurrent = "vgg16_conv_lstm" in (model.name, *model.beside)
    found = {
        "Training epochs are drawn anew every epoch until all stages are as many as the rarest (undersampling), which "
        "over-calls rare stages such as N1 and N4.": train.balance == "under",
        "The image shows two epochs before and two after the current one (150 s), as the paper's code does; its text "
        "says the current epoch only.": config.protocol == "paper" and data.context_epochs == 2,
        f"Nights are cut from lights off to {data.margin_s / 60:g} min after the last sleep (as much before the first "
        "where the time of lights off is unknown).": data.crop == "lights",
        "Unscored epochs and movement count as W.": data.unscored == "wake",
        "Image values above 1 saturate before equalisation.": data.saturate,
        "Images enter as 0..255, no mean subtracted.": config.inputs.scale == "raw",
        "Torchvision's first kernel is rescaled to images of 0..255, as the paper's own weights were made for them.": (
            config.inputs.scale == "raw" and model.weights != "none"
        ),
        "All layers are trained, the fully connected ones from new weights (the paper's text says only the last layer; "
        "its code does this).": config.protocol == "paper" and model.trainable == "all",
        "The ConvLSTM takes a single step from a zero state: nothing recurs.": recurrent and model.sequence_epochs == 1,
        "Dropout stays on at test.": test.dropout,
        "The last, partial batch of test epochs is left out.": test.whole_batches,
        "The declared L2 penalty of 0.0005 isn't in the loss.": config.protocol == "paper" and train.weight_decay == 0,
        "Only the first fold is run: of leave-one-subject-out the first subject tested, the last two for validation.": (
            config.splits.n_first == 1
        ),
        "The weights with the lowest validation loss are kept, dropout on there too.": (
            config.protocol == "paper" and config.splits.n_validation_subjects > 0
        ),
        "Six stages of Rechtschaffen & Kales, where the AASM has five.": (
            config.protocol == "paper" and data.n_classes == 6
        ),
        "Context comes before the current epoch only, as in real time, but for 2 s of the last spectral window; the "
        "equalisation still knows the whole night.": data.causal,
    }
    return [text for text, holds in found.items() if holds]
