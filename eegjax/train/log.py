"""Metric logs: JSON lines, TensorBoard, and the progress line."""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from eegjax.files import disk_errors, write_aside


class MetricLog:
    """`metrics.jsonl` and TensorBoard files of a run, written by one process; lines hold finite numbers or null."""

    def __init__(self, folder: Path, writes: bool, tensorboard: bool) -> None:
        """Append to the logs of a run folder, or (not `writes`) to none."""
        self._path = folder / "metrics.jsonl"
        self._writes = writes
        self._board_folder = folder / "tensorboard" if writes and tensorboard else None
        self._boards: dict[str, Any] = {}

    def cut_back(self, member: dict[str, Any], step: int) -> None:
        """Forget a member's lines after `step`: they will be written again.

        A line cut short by a kill is forgotten too.
        """
        if not (self._writes and self._path.exists()):
            return
        kept = []
        for text in self._path.read_text().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if not (member.items() <= line.items() and line["step"] > step):
                kept.append(text + "\n")
        write_aside(self._path, lambda aside: aside.write_text("".join(kept)))

    def write(self, member: dict[str, Any], step: int, epoch: int, values: dict[str, float]) -> None:
        """One line, and one TensorBoard point per value."""
        if not self._writes:
            return
        numbers = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
        with disk_errors(self._path), open(self._path, "a") as file:
            file.write(json.dumps({**member, "step": step, "epoch": epoch, **numbers}) + "\n")
        if self._board_folder is not None:
            board = self._board("-".join(str(value) for value in member.values()), step)
            for name, value in values.items():
                board.add_scalar(name, value, step)

    def _board(self, name: str, step: int) -> Any:
        from tensorboardX import SummaryWriter

        if name not in self._boards:
            self._boards[name] = SummaryWriter(str(self._board_folder / name), purge_step=step)  # type: ignore[operator]
        return self._boards[name]

    def close(self) -> None:
        """Flush TensorBoard."""
        for board in self._boards.values():
            board.close()


class Progress:
    """The progress line of one training on standard error: loss, examples per second, time left."""

    def __init__(self, label: str, total_steps: int, first_step: int, shown: bool) -> None:
        """Begin at `first_step` of `total_steps`; not shown on processes other than the first."""
        from tqdm import tqdm

        # where nobody watches, a line now and then rather than a screenful
        seconds = 0.5 if sys.stderr.isatty() else 15.0
        self._bar = tqdm(
            total=total_steps, initial=first_step, desc=label, unit="step", mininterval=seconds, disable=not shown
        )
        self._step = first_step
        self._since_s = time.monotonic()

    def step(self) -> None:
        """One more step is under way."""
        self._bar.update(1)

    def rate(self, finished_step: int) -> float:
        """Steps per second from the step that was asked for last to this one, which the device has just finished."""
        now = time.monotonic()
        rate = (finished_step - self._step) / max(now - self._since_s, 1e-9)
        self._step = finished_step
        self._since_s = now
        return rate

    def show(self, loss: float, rate: float) -> None:
        """Show a loss and a rate beside the bar."""
        self._bar.set_postfix_str(f"loss {loss:.4f}, {rate:.0f} examples/s", refresh=False)

    def close(self) -> None:
        """End the line."""
        self._bar.close()


def averages(metrics: dict[str, Any], place: int) -> dict[str, float]:
    """(sum, count) per metric and member -> the means of one member; without examples not a number."""
    return {name: float(np.asarray(s)[place] / c[place]) if c[place] else math.nan for name, (s, c) in metrics.items()}
