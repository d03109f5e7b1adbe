"""A job that stages reference data, in a process as Slurm starts it: all of it is published, or nothing."""

from __future__ import annotations

import gzip
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gateway.agent
from gateway.agent.place import remove_tree
from tests.agent.archives import entry, header, tar
from tests.agent.conftest import Site
from tests.agent.fakes import SECRET, silent, status

MAIN = "from ctsagent.main import main\n\nraise SystemExit(main())\n"
GOOD = tar(entry("db/a.txt", b"alpha"), entry("db/b.txt", b"beta"))


class Staging:
    """Job 1234 of a site, which stages one archive as `7-abc`."""

    def __init__(self, site: Site, agent: Path) -> None:
        self.site = site
        (site.work / "agent").symlink_to(agent)
        self.folder = site.work / "refdata"
        self.final = self.folder / "7-abc"
        self.temporary = self.folder / ".7-abc.tmp"
        self._process: subprocess.Popen[str] | None = None

    def start(
        self, data: bytes, kind: str = "tar", *, name: str = "one", size: int = 1 << 30
    ) -> subprocess.Popen[str]:
        """Start the batch script."""
        item = self.site.input(data, "archive")
        self.site.job(
            staging={
                "kind": kind,
                "file_name": name,
                "directory": str(self.folder),
                "name": "7-abc",
                "max_bytes": size,
                "max_files": 100_000,
            }
        )
        self.site.container(inputs=[item._asdict()])
        self.site.submission()
        argv = [sys.executable, "-I", str(self.site.work / "agent"), "batch"]
        self._process = subprocess.Popen(
            [*argv, str(self.site.job_dir / "job.json"), "0"],
            env={"SLURM_JOB_ID": "77", "SLURMD_NODENAME": "n1", "PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self._process

    def end(self) -> dict[str, Any]:
        """Wait for its end; return result.json."""
        assert self._process is not None
        printed, _ = self._process.communicate(timeout=60)
        assert SECRET not in printed
        assert "Traceback" not in printed
        result: dict[str, Any] = json.loads((self.site.base / "result.json").read_text())
        assert (self._process.returncode == 0) == (result["outcome"] == "ok")
        assert not (self.site.base / "in").exists()
        return result

    def run(self, data: bytes, kind: str = "tar", **more: Any) -> dict[str, Any]:
        """Stage an archive and return the result."""
        self.start(data, kind, **more)
        return self.end()

    def published(self) -> dict[str, bytes]:
        """What is there for jobs."""
        return {
            str(path.relative_to(self.final)): path.read_bytes()
            for path in self.final.rglob("*")
            if path.is_file()
        }

    def left(self) -> set[str]:
        """What is in the site's directory of reference data."""
        return {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agent")
    (folder / "ctsagent").symlink_to(Path(gateway.agent.__path__[0]))
    (folder / "__main__.py").write_text(MAIN)
    return folder


@pytest.fixture
def staging(site: Site, agent: Path) -> Iterator[Staging]:
    made = Staging(site, agent)
    yield made
    remove_tree(made.folder)


def test_an_archive_is_fetched_by_grant_unpacked_and_published_read_only(staging: Staging) -> None:
    result = staging.run(GOOD)
    assert (result["outcome"], result["exit_code"], result["error"]) == ("ok", 0, None)
    assert staging.published() == {"db/a.txt": b"alpha", "db/b.txt": b"beta"}
    assert staging.left() == {"7-abc"}
    assert (result["bytes_in"], result["bytes_out"]) == (len(GOOD), 9)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in staging.final.rglob("*")}
    assert modes == {0o444, 0o555}
    assert [r["phase"] for r in staging.site.daemon.of("phase")] == ["stage-in", "run"]
    assert len(staging.site.daemon.of("result")) == 1


def test_a_file_that_is_not_unpacked_is_published_under_its_own_name(staging: Staging) -> None:
    assert staging.run(b">chr1\nACGT\n", "file", name="genome.fa")["outcome"] == "ok"
    assert staging.published() == {"genome.fa": b">chr1\nACGT\n"}


def test_what_a_killed_run_left_is_removed_and_what_it_published_is_not_made_again(
    staging: Staging,
) -> None:
    (staging.temporary / "half").mkdir(parents=True)
    (staging.temporary / "half" / "x").write_text("half")
    (staging.temporary / "half").chmod(0o555)
    assert staging.run(GOOD)["outcome"] == "ok"
    assert staging.left() == {"7-abc"}
    asked = len(staging.site.daemon.of("stage-in"))
    before = staging.final.stat().st_ino
    (staging.site.job_dir / "claim-0").unlink()
    staging.site.daemon._seen.clear()
    assert staging.run(GOOD)["outcome"] == "ok"
    assert staging.final.stat().st_ino == before
    assert len(staging.site.daemon.of("stage-in")) == asked


def test_a_dangerous_archive_is_refused_by_name_and_leaves_nothing(staging: Staging) -> None:
    result = staging.run(tar(entry("fine", b"x"), entry("../out", b"x")))
    assert result["outcome"] == "stage-in-failed"
    assert "the member '../out' has '..' in its path" in result["error"]
    assert staging.left() == set()


def test_a_bomb_of_100_gb_is_refused_and_leaves_nothing(staging: Staging) -> None:
    bomb = gzip.compress(header(b"bomb", 100 << 30) + bytes(1 << 20))
    result = staging.run(bomb, "tar.gz", size=10**9)
    assert result["error"].startswith("unpacked, the archive has more than 1000000000 bytes")
    assert staging.left() == set()


def test_an_archive_that_changed_since_its_registration_is_refused(staging: Staging) -> None:
    staging.site.s3.fault(status(412, "PreconditionFailed"), method="GET")
    result = staging.run(GOOD)
    assert "changed since submission" in result["error"]
    assert staging.left() == set()


@pytest.mark.parametrize(
    ("number", "outcome"), [(signal.SIGTERM, "canceled"), (signal.SIGUSR1, "stage-in-failed")]
)
def test_a_job_that_is_ended_while_it_unpacks_leaves_nothing(
    staging: Staging, number: signal.Signals, outcome: str
) -> None:
    process = staging.start(_many(60_000))
    _until_it_unpacks(staging)
    process.send_signal(number)
    result = staging.end()
    assert result["outcome"] == outcome
    assert "before all was unpacked" in result["error"]
    assert staging.left() == set()


def test_a_job_that_is_killed_while_it_unpacks_has_published_nothing(staging: Staging) -> None:
    process = staging.start(_many(60_000))
    _until_it_unpacks(staging)
    process.kill()
    process.communicate(timeout=60)
    assert staging.left() == {".7-abc.tmp"}
    assert not (staging.site.base / "result.json").exists()


def test_a_job_that_is_ended_while_it_fetches_says_so(staging: Staging) -> None:
    staging.site.s3.fault(silent(30), method="GET", times=10)
    process = staging.start(GOOD)
    staging.site.daemon.wait_for("stage-in")
    process.send_signal(signal.SIGTERM)
    assert staging.end()["outcome"] == "canceled"
    assert staging.left() == set()


def _many(count: int) -> bytes:
    return b"".join(header(b"%d/%d" % (n % 10, n)) for n in range(count)) + bytes(1024)


def _until_it_unpacks(staging: Staging) -> None:
    deadline = time.monotonic() + 30
    while not (staging.temporary / "9").exists():
        assert time.monotonic() < deadline
        time.sleep(0.002)
