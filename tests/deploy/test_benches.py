"""The programs behind the targets of the Makefile that no test runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.mark.parametrize("program", ["large.py", "transfer.py"])
def test_a_bench_starts_outside_pytest_and_says_its_options(program: str) -> None:
    command = [sys.executable, str(BENCH / program), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "options:" in done.stdout
