"""What the agent's tests share: an object store, a site, an agent, a task."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway.agent
from tests.agent.fakes import FakeS3
from tests.agent.site import HASTY, SLURM, Site
from tests.agent.task import MAIN, Task

__all__ = ["HASTY", "SLURM", "Site"]


@pytest.fixture
def s3() -> Iterator[FakeS3]:
    """An object store."""
    server = FakeS3()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent as the daemon copies it to a site."""
    folder = tmp_path_factory.mktemp("agent")
    (folder / "ctsagent").mkdir()
    for path in Path(gateway.agent.__path__[0]).glob("*.py"):
        (folder / "ctsagent" / path.name).write_bytes(path.read_bytes())
    (folder / "__main__.py").write_text(MAIN)
    return folder


@pytest.fixture
def task(site: Site, agent: Path) -> Iterator[Task]:
    """A task of a Slurm job at that site."""
    task = Task(site, agent)
    yield task
    task.kill()


@pytest.fixture
def site(tmp_path: Path, s3: FakeS3) -> Iterator[Site]:
    """A site with an empty container."""
    site = Site(tmp_path, s3)
    yield site
    site.daemon.close()
