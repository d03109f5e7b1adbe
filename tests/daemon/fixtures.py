"""`world`: one site as new for each test, with moto behind it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import SQLModel

from gateway.config import SiteSection
from gateway.daemon.site import Site
from gateway.slurm.hands import LocalHands
from gateway.store.db import Database
from tests.daemon.fakes import FakeSlurm, Store
from tests.daemon.world import SECRET, World, make_config
from tests.s3.places import Place, bucket_at, section


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One migrated database for all; each test finds it empty. (An engine of its own would compile each query anew.)"""
    made = Database(f"sqlite:///{tmp_path_factory.mktemp('database')}/cts.db")
    made.migrate()
    yield made
    made.close()


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The node agent, put into one place for all sites."""
    folder = tmp_path_factory.mktemp("agent")
    hands = LocalHands(str(folder))
    section = SiteSection(work_dir=folder)
    directory = Site("dev", section, hands, FakeSlurm()).agent()
    hands.close()
    return directory


def _empty(database: Database) -> None:
    with database.engine.begin() as connection:
        for table in reversed(SQLModel.metadata.sorted_tables):
            connection.exec_driver_sql(f'DELETE FROM "{table.name}"')
        connection.exec_driver_sql("DELETE FROM sqlite_sequence")


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
    store: Store, bucket: Place, database: Database, agent: str, tmp_path: Path
) -> Iterator[Callable[..., World]]:
    """Make a world with settings of its site; the one before is over then."""
    made: list[World] = []
    store.heal()

    def make(*, max_array_size: int = 1001, own_agent: bool = False, **site: Any) -> World:
        _empty(database)
        folder = tmp_path / f"world-{len(made)}"
        folder.mkdir()
        config = make_config(store.config, folder, **site)
        slurm = FakeSlurm(max_array_size)
        hands = LocalHands(str(config.sites["dev"].work_dir))
        place = Site("dev", config.sites["dev"], hands, slurm)
        if not own_agent:
            place._agent = agent
        prefix = f"{uuid.uuid4().hex}/"
        made.append(World(config, database, place, slurm, store, bucket, prefix))
        return made[-1]

    yield make
    for world in made:
        world.site.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A site as it comes."""
    return make_world()
