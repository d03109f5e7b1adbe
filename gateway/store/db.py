"""The database connection: engine, sessions, schema version. Queries are in the other modules."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session, create_engine

from gateway.errors import StoreError

_PATIENCE = 60  # seconds that a writer waits for another
_PG_LOCK = 0x637473  # any number that no other program of that database uses
_MIGRATIONS = Path(__file__).parent / "migrations"


class ConflictError(StoreError):
    """Another writer was first: what was to be unique is there already."""


class Database:
    """An engine with two kinds of session: `read()` and `write()`.

    Writing sessions come one after the other: each takes the database's one write lock at its begin, so that what it
    read is what it changes, and two writers wait for each other instead of failing. Commits are synced to disk (a
    submission must not be forgotten by a power cut).

    Raises
    ------
    StoreError
        When the URL names no SQLite file and no PostgreSQL database.

    Attributes
    ----------
    on_commit
        Called after each commit of a writing session.
    on_time
        Called with what took how many seconds: `lock`, the wait of a writer for its turn; `commit`; `read`, a whole session.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError as exc:
            raise StoreError(
                "database.url is not an SQLAlchemy URL, such as sqlite:////var/lib/cts/cts.db"
            ) from exc
        self.name = parsed.render_as_string(hide_password=True)
        kind = parsed.get_backend_name()
        self.sqlite = kind == "sqlite"
        self.file = Path(parsed.database) if self.sqlite and parsed.database else None
        if kind not in ("sqlite", "postgresql"):
            raise StoreError(
                f"database.url: {self.name} is neither sqlite:////PATH nor postgresql+psycopg://…"
            )
        if self.sqlite and (self.file is None or parsed.database == ":memory:"):
            raise StoreError("database.url: name a file, sqlite:////PATH: jobs outlive the daemon")
        arguments: dict[str, Any] = {"timeout": _PATIENCE} if self.sqlite else {}
        try:
            self.engine: Engine = create_engine(
                parsed,
                connect_args=arguments,
                pool_size=20,
                max_overflow=40,
                pool_pre_ping=not self.sqlite,
            )
        except ImportError as exc:
            raise StoreError(
                f"cannot use the database {self.name}: {exc}; write postgresql+psycopg://… and install "
                "cts-gateway[postgresql]"
            ) from exc
        except SQLAlchemyError as exc:
            raise StoreError(f"cannot use the database {self.name}: {exc}") from exc
        if self.sqlite:
            event.listen(self.engine, "connect", _sqlite_connect)
        self.on_commit: Callable[[], object] = _nothing
        self.on_time: Callable[[str, float], object] = _nothing

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for queries; nothing is committed.

        Raises
        ------
        StoreError
            When the database does not answer.
        """
        begin = time.monotonic()
        with self._errors(), Session(self.engine, expire_on_commit=False) as session:
            yield session
        self.on_time("read", time.monotonic() - begin)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session that commits at its end, or rolls back when an exception leaves it.

        Raises
        ------
        ConflictError
            When a unique row is there already.
        StoreError
            When the database does not answer, is full or stays locked.
        """
        with self._errors(), Session(self.engine, expire_on_commit=False) as session:
            begin = time.monotonic()
            self._lock(session.connection())
            locked = time.monotonic()
            yield session
            ready = time.monotonic()
            session.commit()
            done = time.monotonic()
        self.on_time("lock", locked - begin)
        self.on_time("commit", done - ready)
        self.on_commit()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Tell the database's own trouble from mistakes in a query, which stay what they are."""
        try:
            yield
        except IntegrityError as exc:
            raise ConflictError(
                f"the database {self.name} has that row already: {exc.orig}"
            ) from exc
        except (OperationalError, InterfaceError, InternalError, PoolTimeout) as exc:
            raise StoreError(f"the database {self.name} does not answer: {_words(exc)}") from exc

    def migrate(self) -> str:
        """Bring the schema to the newest version, making it when there is none; return that version.

        Raises
        ------
        StoreError
            When the database cannot be reached or changed, or is of a newer release.
        """
        try:
            if self.file is not None:  # it holds the tokens of jobs
                os.close(os.open(self.file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._refuse_newer(self._version())
            with self.engine.begin() as connection:
                self._lock(connection)
                config = _alembic()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except (SQLAlchemyError, CommandError) as exc:
            raise StoreError(f"cannot migrate {self.name}: {_words(exc)}") from exc
        except OSError as exc:
            raise StoreError(f"cannot make the database {self.file}: {exc.strerror}") from exc
        return self.wanted_version()

    def check(self) -> None:
        """See that the database answers and has the schema of this release.

        Raises
        ------
        StoreError
            Saying what to run.
        """
        if self.file is not None and not self.file.exists():  # SQLite would make it
            raise StoreError(
                f"there is no database {self.file} yet: run 'ctsd migrate --config FILE'"
            )
        try:
            found = self._version()
        except SQLAlchemyError as exc:
            raise StoreError(f"cannot reach the database {self.name}: {_words(exc)}") from exc
        self._refuse_newer(found)
        wanted = self.wanted_version()
        if found != wanted:
            has = f"has schema {found}" if found else "is empty"
            raise StoreError(
                f"the database {self.name} {has}, this release wants schema {wanted}: "
                "run 'ctsd migrate --config FILE'"
            )

    def _lock(self, connection: Connection) -> None:
        """Take the one write lock, waiting for it up to a minute; it is given back at the transaction's end."""
        if self.sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_PATIENCE}s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_PG_LOCK})")

    def _version(self) -> str | None:
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            return MigrationContext.configure(connection).get_current_revision()

    def _refuse_newer(self, found: str | None) -> None:
        known = {
            script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions()
        }
        if found is not None and found not in known:
            raise StoreError(
                f"the database {self.name} has schema {found}, which this release (schema {self.wanted_version()}) "
                "does not know: install the release that made it, or a newer one"
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


def _nothing(*_: object) -> None:
    pass


def _words(exc: Exception) -> str:
    """Return what the driver said, without the statement and its values: they may be a user's."""
    orig = getattr(exc, "orig", None)
    return " ".join(str(orig if orig is not None else exc).split()) or type(exc).__name__


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
