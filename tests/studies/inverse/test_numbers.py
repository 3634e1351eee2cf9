"""The inverse study's numbers, against counts by hand and other ways to compute them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict

from eegjax.errors import UserError
from eegjax.evaluate.points import area_under_curve, f1_curve
from eegjax.studies.inverse.numbers import SLIPS, by_model, curves, difference, evaluate, headline, metric, samples_of

RADII = (0.0, 5.0, 10.0)
FAR = np.array([1000.0, 0.0, 0.0])
TRUE = np.array([[0.0, 0.0, 0.0], [100.0, 0.0, 0.0]])  # mm


def configure(**test: Any) -> ConfigDict:
    test = {"unit": "mm", "radii": RADII, "radius": 5.0, "matching": "hungarian", "slips": ()} | test
    return ConfigDict({"test": test})


def answer(example: int, model: str, true: Any, predicted: Any, **fields: Any) -> list[dict[str, Any]]:
    """The rows of one sample, as one member of a model has them; positions in voxels are a tenth of those in mm."""
    fixed = {"example": example, "subject": "a", "recording": f"r{example}", "model": model, "split": "test"}
    fixed |= {"fold": "f", "seed": 0, "member": 0}
    measured = {"n_true": len(true), "error_mm": np.nan, "dispersion_mm": np.nan, "auc": np.nan, "emd_mm": np.nan}
    measured |= {"value": np.nan, "kind": "sample"}
    rows = [fixed | measured | fields]
    for kind, points in (("true", true), ("predicted", predicted)):
        for point in points:
            position = dict(zip(("x_mm", "y_mm", "z_mm"), point, strict=True))
            position |= dict(zip("xyz", np.divide(point, 10), strict=True))
            rows.append(fixed | {name: value for name, value in fields.items() if name in fixed} | position)
            rows[-1] |= {"kind": kind, "value": 1.0}
    return rows


def table(*answers: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([row for one in answers for row in one])


HALF = table(  # of two samples: one hit of two at 4 mm; both exactly; and one silent sample with a point
    answer(3, "v_net", TRUE, [TRUE[0] + [4, 0, 0], FAR], error_mm=10.0, value=0.3),
    answer(1, "v_net", TRUE, TRUE, error_mm=0.0, auc=0.9, value=0.5),
    answer(2, "v_net", [], [FAR, FAR + 50], value=0.4),
)
NONE = table(*(answer(example, "random 10", [] if example == 2 else TRUE, []) for example in (1, 2, 3)))


def test_numbers_are_those_counted_by_hand() -> None:
    numbers = evaluate(configure(), HALF, NONE)
    assert numbers["f1"] == pytest.approx(0.75)
    assert numbers["f1_sd"] == numbers["f1_sd_at_5"] == pytest.approx(0.25)
    assert [numbers[f"f1_at_{radius}"] for radius in (0, 5, 10)] == pytest.approx([0.5, 0.75, 0.75])
    assert numbers["area"] == pytest.approx((area_under_curve(RADII, [0, 0.5, 0.5]) + 1) / 2)
    assert (numbers["f1_low"], numbers["f1_high"]) == pytest.approx((0.5, 1.0))
    assert (numbers["error_mm"], numbers["auc"]) == (5.0, 0.9)
    assert np.isnan(numbers["emd_mm"])
    assert (numbers["n_located"], numbers["silent_points"]) == (2, 2.0)
    assert numbers["threshold"] == pytest.approx(0.4)
    assert (numbers["n_samples"], numbers["n_silent"]) == (2, 1)
    assert (numbers["radius"], numbers["unit"], numbers["interval"]) == (
        5.0,
        "mm",
        "bootstrap over samples (1000 draws)",
    )


def test_empty_predictions_count_as_zero_and_are_not_located() -> None:
    numbers = evaluate(configure(), HALF, NONE)
    assert (numbers["random_10_f1"], numbers["random_10_n_located"], numbers["random_10_silent_points"]) == (0, 0, 0)
    assert np.isnan(numbers["random_10_threshold"])
    assert np.isnan(numbers["random_10_error_mm"])
    assert numbers["difference_to_random_10"] == pytest.approx(0.75)
    assert (numbers["difference_to_random_10_low"], numbers["difference_to_random_10_high"]) == pytest.approx((0.5, 1))


def test_the_papers_slips_skip_empty_predictions() -> None:
    config = configure(matching="greedy_distinct", slips=SLIPS)
    numbers = evaluate(config, HALF, NONE)
    assert np.isnan(numbers["random_10_f1"])
    assert np.isnan(numbers["difference_to_random_10"])
    exact = f1_curve(TRUE, TRUE, RADII, "greedy_distinct", cumulative=True, drop_last=True, skip_empty=True)
    samples, values = curves(config, HALF)
    assert samples["example"].tolist() == [1, 3]
    np.testing.assert_array_equal(values[0], exact)
    assert not np.array_equal(exact, curves(configure(), HALF)[1][0])


@pytest.mark.parametrize("slip", SLIPS)
def test_each_slip_is_by_itself(slip: str) -> None:
    """Two pairs of points, 4 mm apart and 7 mm from each other: what they merge to depends on what they were before."""
    assert metric(configure(slips=())) == {"matching": "hungarian", **dict.fromkeys(SLIPS, False)}
    assert metric(configure(slips=(slip,))) == {"matching": "hungarian", **{one: one == slip for one in SLIPS}}
    near = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [11.0, 0.0, 0.0], [15.0, 0.0, 0.0]])
    beside = near + np.array([1, 0, 0])
    frame = table(answer(1, "v_net", near, beside), answer(2, "v_net", near, []))
    given = {"radii": (0.0, 5.0, 10.0, 14.0), "matching": "greedy_distinct"}
    values, sound = (curves(configure(**given, slips=slips), frame)[1] for slips in ((slip,), ()))
    given |= {slip: True}
    np.testing.assert_array_equal(values[0], f1_curve(near, beside, **given))
    assert np.isnan(values[1]).all() == (slip == "skip_empty")
    assert np.array_equal(values[0], sound[0]) == (slip == "skip_empty")


def test_radii_in_voxels_read_other_columns() -> None:
    values = curves(configure(unit="voxels", radii=(0.0, 0.3, 0.5), radius=0.5), HALF)[1]
    np.testing.assert_allclose(values, [[1, 1, 1], [0, 0, 0.5]])


def test_members_are_averaged_before_samples() -> None:
    """Of example 1 two members hit all and nothing; of example 3 both hit half."""
    second = table(
        answer(1, "v_net", TRUE, [FAR], seed=1, member=1, value=0.9, error_mm=30.0),
        answer(3, "v_net", TRUE, [TRUE[0], FAR], seed=1, member=1, value=0.9, error_mm=10.0),
        answer(2, "v_net", [], [], seed=1, member=1, value=0.9),
    )
    both = pd.concat([second, HALF])  # in any order
    samples, values = curves(configure(), both)
    np.testing.assert_allclose(values, [[0.5, 0.5, 0.5], [0.25, 0.5, 0.5]])
    assert samples["error_mm"].tolist() == [15.0, 10.0]
    assert samples_of(both)["n_points"].tolist() == [1.5, 1.0, 2.0]
    numbers = evaluate(configure(), both, NONE)
    assert numbers["threshold"] == pytest.approx((0.4 + 0.9) / 2)
    assert (numbers["silent_points"], numbers["n_samples"]) == (1.0, 2)


def test_heads_are_drawn_where_there_are_enough() -> None:
    """Samples of one head are alike: drawing heads has to give a wider interval than drawing samples."""
    hit = {f"head {number}": number % 2 == 0 for number in range(6)}
    answers = [
        answer(20 * head + place, "v_net", TRUE, TRUE if hit[name] else [FAR], subject=name)
        for head, name in enumerate(hit)
        for place in range(20)
    ]
    none = [
        answer(20 * head + place, "random 10", TRUE, [], subject=name)
        for head, name in enumerate(hit)
        for place in range(20)
    ]
    six = evaluate(configure(), table(*answers), table(*none))
    four = evaluate(configure(), table(*answers[:80]), table(*none[:80]))
    assert "over heads" in six["interval"]
    assert "over samples" in four["interval"]
    assert six["f1"] == four["f1"] == 0.5
    assert six["f1_high"] - six["f1_low"] > 2 * (four["f1_high"] - four["f1_low"])
    ends = ("_low", "_high")
    assert [six[f"difference_to_random_10{end}"] for end in ends] == [six[f"f1{end}"] for end in ends]


def test_models_are_compared_on_the_samples_that_all_were_tested_on() -> None:
    of_training = table(answer(7, "v_net", TRUE, [], split="train"))
    models = by_model(pd.concat([of_training, HALF]), NONE[NONE["example"] != 3])
    assert list(models) == ["v_net", "random 10"]
    assert [sorted(set(frame["example"])) for frame in models.values()] == [[1, 2], [1, 2]]
    assert evaluate(configure(), HALF, NONE[NONE["example"] != 3])["f1"] == 1


def test_other_samples_are_not_paired() -> None:
    """The same number, but of another recording or of another truth, is another sample."""
    first = curves(configure(), HALF)
    config = configure()
    elsewhere = curves(config, table(answer(1, "v_net", TRUE, [FAR], recording="other")))
    fewer = curves(config, table(answer(1, "v_net", TRUE[:1], [FAR])))
    assert np.isnan([difference(config, first, elsewhere)[0], difference(config, first, fewer)[0]]).all()
    same = curves(config, table(answer(1, "v_net", TRUE, [FAR]), answer(9, "v_net", TRUE, TRUE)))
    assert difference(config, first, same)[0] == 1


def test_a_headline_that_is_no_radius_or_an_unknown_unit_is_refused() -> None:
    assert headline(configure()) == 1
    with pytest.raises(UserError, match=r"config.test.radius is 7; expected one of config.test.radii, 0, 5, 10"):
        headline(configure(radius=7.0))
    with pytest.raises(UserError, match=r"config.test.unit is 'cm'; expected one of mm, voxels"):
        headline(configure(unit="cm"))
