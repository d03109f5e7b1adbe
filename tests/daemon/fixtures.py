"""`world`: one site as new for each test, with moto behind it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.daemon.site import Site
from gateway.slurm.hands import LocalHands
from gateway.store.db import Database
from tests.daemon.fakes import FakeSlurm, Store
from tests.daemon.world import SECRET, World, make_config
from tests.s3.places import Place, bucket_at, section


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of this release, to be copied."""
    path = tmp_path_factory.mktemp("schema") / "cts.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    return path


@pytest.fixture(scope="session")
def bucket(moto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One bucket for all; each test writes below a prefix of its own."""
    with bucket_at(moto, tmp_path_factory.mktemp("s3"), "key", "secret") as place:
        yield place


@pytest.fixture(scope="session")
def store(moto: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The daemon's own way to that bucket; making a client of S3 takes longer than most tests."""
    return Store(section(moto, tmp_path_factory.mktemp("store"), "key", SECRET))


@pytest.fixture
def make_world(
    store: Store, bucket: Place, schema: Path, tmp_path: Path
) -> Iterator[Callable[..., World]]:
    """Make a world with settings of its site."""
    made: list[World] = []
    store.heal()

    def make(*, max_array_size: int = 1001, **site: Any) -> World:
        folder = tmp_path / f"world-{len(made)}"
        folder.mkdir()
        shutil.copy(schema, folder / "cts.db")
        config = make_config(store.config, folder, **site)
        slurm = FakeSlurm(max_array_size)
        hands = LocalHands(str(config.sites["dev"].work_dir))
        made.append(
            World(
                config,
                Database(f"sqlite:///{folder}/cts.db"),
                Site("dev", config.sites["dev"], hands, slurm),
                slurm,
                store,
                bucket,
                f"{uuid.uuid4().hex}/",
            )
        )
        return made[-1]

    yield make
    for world in made:
        world.site.close()
        world.database.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A site as it comes."""
    return make_world()
