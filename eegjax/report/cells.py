"""Numbers as the text of a table's cells, the same in all studies."""

import math

NOTHING = "–"  # what is undefined or missing
LEVEL = 0.05  # of a significant p
NO_DIFFERENCE = "no significant difference"
UNCORRECTED = "Not corrected for multiple comparisons."
BY_INTERVAL = (  # footnotes that say what the words of `format_difference` and `format_p` mean
    "'significantly better' or 'significantly worse' where the 95 % interval excludes 0. " + UNCORRECTED
)
BY_P = f"'significantly better' or 'significantly worse' where p < {LEVEL:g}. {UNCORRECTED}"


def format_number(value: float | None, digits: int = 3) -> str:
    """Write a number: `0.712`, and `–` for what is undefined (nan, null in JSON)."""
    return NOTHING if value is None or math.isnan(value) else f"{value:z.{digits}f}"


def format_interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """Write a number with its interval: `0.712 [0.680, 0.740]`; each of the three may be undefined."""
    value_text, low_text, high_text = (format_number(one, digits) for one in (value, low, high))
    return f"{value_text} [{low_text}, {high_text}]"


def format_mean_sd(mean: float, sd: float) -> str:
    """Write a mean with its standard deviation: `0.712 ± 0.103`; without the second where it is undefined."""
    return format_number(mean) if math.isnan(sd) else f"{format_number(mean)} ± {format_number(sd)}"


def format_count(n: int, noun: str) -> str:
    """Write how many there are: `1 subject`, `2 subjects`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def format_difference(difference: float, low: float, high: float) -> str:
    """Write how a row differs from the first one, and what that says of the row.

    Args:
        difference: the row's number minus the first one's, where more is better.
        low: the lower end of its 95 % interval, from a paired test.
        high: the upper end.

    Returns:
        `+0.084 [+0.032, +0.135] significantly better`, or `no significant difference` where the interval holds 0; `–`
        for an undefined difference.
    """
    if math.isnan(difference):
        return NOTHING
    verdict = _better(difference) if low > 0 or high < 0 else NO_DIFFERENCE
    return f"{difference:+z.3f} [{low:+z.3f}, {high:+z.3f}] {verdict}"


def format_p(p: float, difference: float) -> str:
    """Write the p of a paired test and, only where it is significant, what the difference says of the row.

    Args:
        p: two-sided.
        difference: the row's number minus the first one's, where more is better.

    Returns:
        `0.018 significantly worse`, `0.111`, or `–` where there is none.
    """
    if math.isnan(p):
        return NOTHING
    text = f"{p:.3f}" if p >= 0.0005 else "<0.001"
    return f"{text} {_better(difference)}" if p < LEVEL else text


def _better(difference: float) -> str:
    return f"significantly {'better' if difference > 0 else 'worse'}"
