"""Commands that change a cluster wait for each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from devclusterlib.lock import locked
from devclusterlib.settings import ClusterError

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
_HOLD = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(DEPLOY)!r})
from devclusterlib.lock import locked
with locked(Path(sys.argv[1]), "the thing"):
    print("mine", flush=True)
    sys.stdin.readline()
"""


def _holder(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_command_says_that_it_waits_and_goes_on_when_the_first_is_killed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lock"
    with _holder(path) as first:
        assert _line(first) == "mine"
        with _holder(path) as second:
            assert _line(second) == "waiting: another command is at work on the thing"
            first.kill()
            assert _line(second) == "mine"
            second.kill()


def test_one_that_waited_for_a_lock_that_was_removed_locks_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with _holder(path) as first:
        assert _line(first) == "mine"
        with _holder(path) as second:
            assert _line(second).startswith("waiting")
            path.unlink()
            first.kill()
            assert _line(second) == "mine"
            assert path.exists()
            with _holder(path) as third:
                assert _line(third).startswith("waiting")
                third.kill()
            second.kill()


def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ClusterError, match="cannot be written"),
        locked(tmp_path / "file/clusters/lock", "the thing"),
    ):
        pass
