"""Two processes start a run in a fresh folder together: nothing is prepared yet, nothing trained."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

WAIT_S = 400  # a deadlock would last for ever


@pytest.fixture
def coordinator() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.slow
def test_two_processes_run_a_study_from_nothing(repository: Path, tmp_path: Path, coordinator: str) -> None:
    def start(*further: str, devices: int) -> subprocess.Popen:
        command = [
            *(sys.executable, repository / "launch" / "main.py"),
            f"--config={repository}/configs/sleep.py:demo,size=tiny,model=vgg16",
            *("--config.model.width=0.015625", "--config.train.n_epochs=1", *further),
        ]
        environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes)

    together = [start("--workdir=two", f"--distributed={coordinator},2,{k}", devices=2) for k in range(2)]
    try:
        printed = [process.communicate(timeout=WAIT_S) for process in together]
    finally:
        for process in together:
            process.kill()
    assert [process.returncode for process in together] == [0, 0], printed
    assert "Run folder: two" in printed[0][0]
    assert "Run folder" not in printed[1][0]  # the first process alone reports

    alone = start("--workdir=one", devices=1)
    assert alone.wait(WAIT_S) == 0
    two, one = (pd.read_parquet(tmp_path / name / "predictions.parquet") for name in ("two", "one"))
    probabilities = [column for column in one if column.startswith("p_")]
    assert one["example"].tolist() == two["example"].tolist()
    np.testing.assert_allclose(two[probabilities], one[probabilities], atol=1e-4)
