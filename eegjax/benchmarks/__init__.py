"""What `launch/benchmark.py` measures. Nothing here is timed in a test."""

from eegjax import cpu_tuning
from eegjax.errors import UserError


def launch(operations: bool, study: str | None, against: str | None, only: str | None, batch: int | None) -> None:
    """Measure and print, row by row.

    Args:
        operations: the operations in both forms.
        study: or a study's network beside PyTorch's.
        against: `torch` or None.
        only: a word in the names of the operations to be timed.
        batch: examples per step of a study's network, or None for its own number.

    Raises:
        UserError: `against` is neither None nor `torch`; neither or both of `operations` and `study` are given, or a
            `study` without `against`; and what `against_torch.compare` raises.
    """
    if against not in (None, "torch"):
        raise UserError(f"--against is '{against}'; there is torch")
    if operations == bool(study) or (study and not against):
        raise UserError("say what to measure: --operations [--against=torch], or --study=NAME --against=torch")
    if study:
        from eegjax.benchmarks import against_torch

        print(against_torch.compare(study, batch, cpu_tuning.is_tuned()))
        return
    from eegjax.benchmarks import operations as forms

    print(forms.HEAD)
    for row in forms.measure(only or "", torch=against == "torch"):
        print(forms.format_row(row), flush=True)
