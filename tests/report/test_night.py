"""What the figure of a night shows, read from its artists and pixels."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from eegjax.evaluate.night import night_statistics
from eegjax.report.night import DISCLAIMER, MEASURES, STAGE_COLOURS, draw_night, night_text

NAMES = ("W", "N1", "N2", "N3", "N4", "R")
TOP_DOWN = ["W", "R", "N1", "N2", "N3", "N4"]


def night(n_epochs: int, n_classes: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(n_classes), n_epochs)
    return 30.0 * np.arange(n_epochs), probabilities.argmax(1), probabilities


def height_at(figure: Figure, time_s: float) -> dict[str, float]:
    """The height of each stage's area at a time, measured on what is drawn; no entry where nothing is."""
    line = np.column_stack([np.full(10_000, time_s / 3600), np.linspace(0, 1, 10_000)])
    areas = {area.get_label(): area.get_paths() for area in figure.axes[1].collections}
    heights = {label: sum(path.contains_points(line).mean() for path in paths) for label, paths in areas.items()}
    return {label: height for label, height in heights.items() if height}


def test_areas_are_the_probabilities_in_clinical_order(tmp_path: Path, saved: list[Figure]) -> None:
    onset_s, codes, probabilities = night(3)
    probabilities[:] = [0.3, 0.1, 0.25, 0.15, 0.05, 0.15]
    draw_night(tmp_path / "n.png", onset_s, codes, probabilities, NAMES, "Night")
    above, below = saved[0].axes
    assert height_at(saved[0], 45.0) == pytest.approx(dict(zip(NAMES, probabilities[1], strict=True)), abs=2e-4)
    assert [text.get_text() for text in below.get_legend().get_texts()] == TOP_DOWN
    centres = {area.get_label(): area.get_paths()[0].get_extents().y1 for area in below.collections}
    assert sorted(centres, key=centres.get, reverse=True) == TOP_DOWN
    assert [label.get_text() for label in above.get_yticklabels()] == TOP_DOWN
    assert above.get_ylim()[0] > above.get_ylim()[1]  # W on top


def test_the_colours_of_the_picture_are_the_shares(tmp_path: Path) -> None:
    onset_s, codes, probabilities = night(4, 5)
    probabilities[:] = [0.1, 0.2, 0.3, 0.15, 0.25]
    draw_night(tmp_path / "n.png", onset_s, codes * 0, probabilities, ("W", "N1", "N2", "N3", "R"), "Night")
    picture = matplotlib.image.imread(tmp_path / "n.png")[..., :3]
    column = picture[:, picture.shape[1] // 3]
    shares = {name: (np.abs(column - to_rgb(colour)).max(1) < 0.01).sum() for name, colour in STAGE_COLOURS.items()}
    total = sum(shares.values())
    assert [shares[name] / total for name in ("W", "N1", "N2", "N3", "R", "N4")] == pytest.approx(
        [0.1, 0.2, 0.3, 0.15, 0.25, 0], abs=0.01
    )


def test_missing_epochs_leave_a_gap_in_both_panels(tmp_path: Path, saved: list[Figure]) -> None:
    onset_s, codes, probabilities = night(20)
    keep = np.r_[0:8, 12:20]
    draw_night(tmp_path / "n.png", onset_s[keep], codes[keep], probabilities[keep], NAMES, "Night")
    above = saved[0].axes[0]
    hours, level = above.lines[0].get_data()
    assert np.isnan(level[np.isclose(hours * 3600, 240)]).all()
    assert height_at(saved[0], 300.0) == {}
    assert height_at(saved[0], 225.0) == pytest.approx(dict(zip(NAMES, probabilities[7], strict=True)), abs=2e-4)
    assert height_at(saved[0], 375.0) == pytest.approx(dict(zip(NAMES, probabilities[12], strict=True)), abs=2e-4)


@pytest.mark.parametrize(
    ("n_epochs", "epoch_s", "label", "first_ticks"),
    [
        (1, 30.0, "time (min)", ["0", "0.5"]),
        (3, 30.0, "time (min)", ["0", "0.5", "1", "1.5"]),
        (100, 30.0, "time (min)", ["0", "5", "10"]),
        (960, 30.0, "time (h)", ["0", "1", "2"]),
        (2880, 30.0, "time (h)", ["0", "2", "4"]),
        (96, 7200.0, "time (h)", ["0", "24", "48"]),
    ],
)
def test_time_is_readable_whatever_the_length(
    tmp_path: Path, saved, n_epochs: int, epoch_s: float, label: str, first_ticks
) -> None:
    _, codes, probabilities = night(n_epochs)
    draw_night(tmp_path / "n.png", epoch_s * np.arange(n_epochs), codes, probabilities, NAMES, "Night", epoch_s=epoch_s)
    above, below = saved[0].axes
    assert below.get_xlabel() == label
    low, high = below.get_xlim()
    ticks = [(t.get_position()[0], t.get_text()) for t in below.get_xticklabels()]
    shown = [text for place, text in ticks if low <= place <= high]
    assert shown[: len(first_ticks)] == first_ticks
    assert 2 <= len(shown) <= 13
    assert above.get_xlim() == (low, high)
    assert high * 3600 == pytest.approx(epoch_s * n_epochs, rel=0.02)


@pytest.mark.parametrize("n_epochs", [3, 2880])
def test_nothing_overlaps(tmp_path: Path, saved: list[Figure], n_epochs: int) -> None:
    title = "Stages of a file whose name is long, " + "so long that it takes more than a line, " * 3
    draw_night(tmp_path / "n.png", *night(n_epochs), NAMES, title)
    figure = saved[0]
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    above, below = figure.axes
    parts = [figure._suptitle, above, below.xaxis.label, figure._supxlabel]
    boxes = [part.get_window_extent(renderer) for part in (*parts, below.get_legend())]
    boxes.append(below.get_window_extent(renderer))
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= 0
        assert box.y1 <= figure.bbox.y1


def test_every_figure_says_what_it_is_not_for(tmp_path: Path, saved: list[Figure]) -> None:
    pictures = []
    for simulated in (False, True):
        draw_night(tmp_path / "n.png", *night(50), NAMES, "Night", simulated)
        pictures.append(matplotlib.image.imread(tmp_path / "n.png")[..., :3])
    assert DISCLAIMER == "No medical device: for research only."
    assert [figure.get_supxlabel() for figure in saved] == [DISCLAIMER, f"SIMULATED DATA. {DISCLAIMER}"]
    assert (np.abs(pictures[0] - pictures[1]).max(-1) > 0.05).mean() > 0.01  # the stamp


def test_a_name_with_dollars_is_no_formula(tmp_path: Path, saved: list[Figure]) -> None:
    draw_night(tmp_path / "n.png", *night(3), NAMES, r"$\broken{ night$.edf")
    assert saved[0].get_suptitle() == r"$\broken{ night$.edf"


def test_the_text_says_every_measure_with_its_unit() -> None:
    codes = np.repeat([0, 1, 2, 0, 2, 3, 0], [10, 2, 20, 3, 30, 15, 4])  # W N1 N2 W N2 N3 W
    lines = night_text(night_statistics(codes, NAMES), NAMES).splitlines()
    told = {line[2:47].strip(): line[47:].split() for line in lines}
    assert len(told) == len(lines) == len(MEASURES) + len(NAMES)
    assert told["recording"] == ["42.0", "min"]
    assert told["total sleep time"] == ["33.5", "min"]
    assert told["sleep efficiency (asleep, of the recording)"] == ["79.8", "%"]
    assert told["sleep onset latency, from the start"] == ["5.0", "min"]
    assert told["N3 latency, from sleep onset"] == ["27.5", "min"]
    assert told["REM latency, from sleep onset"] == ["–"]  # there was none
    assert told["wake after sleep onset (WASO)"] == ["1.5", "min"]
    assert told["wake after the last sleep"] == ["2.0", "min"]
    assert told["awakenings"] == ["1"]
    assert told["stage shifts"] == ["4"]
    assert told["W"] == ["8.5", "min"]
    assert told["N2"] == ["25.0", "min", "74.6", "%", "of", "sleep"]
    assert told["N4"] == ["0.0", "min", "0.0", "%", "of", "sleep"]


def test_the_text_of_a_night_without_sleep() -> None:
    lines = night_text(night_statistics(np.zeros(4, int), ("W", "R")), ("W", "R")).splitlines()
    assert [line.split()[-1] for line in lines[3:-2]] == ["–"] * 8
    assert [line.split() for line in lines[-2:]] == [["W", "2.0", "min"], ["R", "0.0", "min"]]


def test_unknown_stages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\['S1'\] should be among"):
        draw_night(tmp_path / "n.png", *night(3, 2), ("W", "S1"), "Night")
