"""Numbers as the text of cells, and whose footnotes they are."""

import math

import pytest

from eegjax.report.cells import (
    format_count,
    format_difference,
    format_interval,
    format_mean_sd,
    format_number,
    format_p,
)
from eegjax.report.footnotes import name_owners

NAN = math.nan


def test_numbers_have_three_decimals_and_no_negative_zero() -> None:
    assert [format_number(value) for value in (0.7123, -0.0001, None, NAN)] == ["0.712", "0.000", "–", "–"]
    assert format_number(12.34, digits=1) == "12.3"
    assert [format_count(n, "subject") for n in (0, 1, 2)] == ["0 subjects", "1 subject", "2 subjects"]


def test_intervals_stand_in_brackets() -> None:
    assert format_interval(0.7123, 0.68, 0.74) == "0.712 [0.680, 0.740]"
    assert format_interval(77.04, -0.01, 80, digits=1) == "77.0 [0.0, 80.0]"
    assert format_interval(NAN, 0, 1, digits=0) == "– [0, 1]"


def test_the_sd_of_a_single_one_is_left_out() -> None:
    assert format_mean_sd(0.7123, 0.05) == "0.712 ± 0.050"
    assert format_mean_sd(0.7123, NAN) == "0.712"
    assert format_mean_sd(NAN, NAN) == "–"


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((0.1, 0.01, 0.2), "+0.100 [+0.010, +0.200] significantly better"),
        ((-0.1, -0.2, -0.01), "-0.100 [-0.200, -0.010] significantly worse"),
        ((0.1, -0.01, 0.2), "+0.100 [-0.010, +0.200] no significant difference"),
        ((0.1, 0.0, 0.2), "+0.100 [+0.000, +0.200] no significant difference"),
        ((-0.0, -0.0, -0.0), "+0.000 [+0.000, +0.000] no significant difference"),
        ((NAN, 0.0, 0.0), "–"),
    ],
)
def test_a_difference_says_of_the_row_what_its_interval_shows(ends: tuple[float, float, float], text: str) -> None:
    assert format_difference(*ends) == text


@pytest.mark.parametrize(
    ("p", "difference", "text"),
    [
        *((0.049, 0.1, "0.049 significantly better"), (0.049, -0.1, "0.049 significantly worse")),
        *((0.05, 0.1, "0.050"), (0.7, -0.1, "0.700"), (1.0, 0.0, "1.000"), (NAN, NAN, "–")),
        (1e-4, -0.2, "<0.001 significantly worse"),
    ],
)
def test_better_or_worse_only_below_one_in_twenty(p: float, difference: float, text: str) -> None:
    assert format_p(p, difference) == text


def test_footnotes_of_some_rows_say_whose_they_are() -> None:
    notes = {"A": ["all", "of A"], "B": ["of B and C", "all"], "C": ["of B and C", "all"]}
    assert name_owners(notes) == ["all", "A: of A", "B; C: of B and C"]
    assert name_owners({"A": ["one"]}) == ["one"]
    assert name_owners({}) == []
