"""A database for each test: SQLite, and PostgreSQL too where `postgresql_url` is set.

`postgresql_url` stands in test.cfg, or in the variable CTS_TEST_POSTGRESQL_URL: an SQLAlchemy URL
(postgresql+psycopg://user:password@host/name) of an empty database that the tests may fill and empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store.db import Database
from tests import settings

POSTGRESQL_URL = settings.load().postgresql_url
KINDS = ["sqlite", "postgresql"] if POSTGRESQL_URL else ["sqlite"]


@pytest.fixture(params=KINDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Give a database without a schema."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path}/cts.db")
    else:
        database = Database(POSTGRESQL_URL)
        with database.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    yield database
    database.close()


@pytest.fixture
def database(empty: Database) -> Database:
    """Give a database with this release's schema."""
    empty.migrate()
    return empty
