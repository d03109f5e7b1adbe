"""The database connection: engine, sessions, schema version. Queries are in the other modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlmodel import Session, create_engine

from gateway.errors import StoreError

_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """An engine with two kinds of session: `read()` and `write()`.

    On SQLite a writing session takes the write lock at its begin, so that two writers wait for each
    other instead of failing; commits are synced to disk (a submission must not be forgotten by a power cut).
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError as exc:
            raise StoreError(
                "database.url is not an SQLAlchemy URL, such as sqlite:////var/lib/cts/cts.db"
            ) from exc
        self.name = parsed.render_as_string(hide_password=True)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        arguments: dict[str, Any] = {"timeout": 60} if self.sqlite else {}
        try:
            self.engine: Engine = create_engine(
                parsed,
                connect_args=arguments,
                pool_size=20,
                max_overflow=40,
                pool_pre_ping=not self.sqlite,
            )
        except (SQLAlchemyError, ImportError) as exc:
            raise StoreError(f"cannot use the database {self.name}: {exc}") from exc
        if self.sqlite:
            event.listen(self.engine, "connect", _sqlite_connect)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for queries; nothing is committed."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session that commits at its end, or rolls back when an exception leaves it."""
        with Session(self.engine, expire_on_commit=False) as session:
            if self.sqlite:
                session.connection().exec_driver_sql("BEGIN IMMEDIATE")
            yield session
            session.commit()

    def migrate(self) -> str:
        """Bring the schema to the newest version, making it when there is none; return that version.

        Raises
        ------
        StoreError
            When the database cannot be reached or changed.
        """
        try:
            with self.engine.begin() as connection:
                config = _alembic()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except SQLAlchemyError as exc:
            raise StoreError(f"cannot migrate {self.name}: {exc}") from exc
        return self.wanted_version()

    def check(self) -> None:
        """See that the database answers and has the schema of this release.

        Raises
        ------
        StoreError
            Saying what to run.
        """
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
                found = MigrationContext.configure(connection).get_current_revision()
        except SQLAlchemyError as exc:
            raise StoreError(f"cannot reach the database {self.name}: {exc}") from exc
        wanted = self.wanted_version()
        if found != wanted:
            raise StoreError(
                f"the database {self.name} has schema {found or 'none'}, this release wants {wanted}: "
                "run 'ctsd migrate --config FILE'"
            )

    @staticmethod
    def wanted_version() -> str:
        """Return the newest schema version that this release knows."""
        head = ScriptDirectory.from_config(_alembic()).get_current_head()
        if head is None:
            raise StoreError("this installation has no migrations; install it again")
        return head

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def _alembic() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
