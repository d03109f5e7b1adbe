"""The database: sessions that many threads use at once, its schema, and its errors."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlmodel import SQLModel, col, select

import gateway.store.tables
from gateway.errors import StoreError
from gateway.store import db
from gateway.store.db import ConflictError, Database
from gateway.store.tables import Audit, Image, InputFile
from tests.store.rows import MOMENT, audit, image, input_file


class TestSessions:
    def test_many_writers_at_once_lose_nothing(self, database: Database) -> None:
        with database.write() as session:
            session.add(audit("0"))

        def count(_: int) -> None:
            for _ in range(5):
                with database.write() as session:
                    row = session.exec(select(Audit)).one()
                    row.target = str(int(row.target) + 1)
                    session.add(row)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(count, range(16)))
        with database.read() as session:
            assert session.exec(select(Audit)).one().target == "80"

    def test_readers_are_held_up_by_no_writer_and_see_only_what_is_committed(
        self, database: Database
    ) -> None:
        stop = threading.Event()
        seen: list[int] = []

        def write() -> None:
            for n in range(60):
                with database.write() as session:
                    session.add(audit(f"{n}a"))
                    session.flush()
                    session.add(audit(f"{n}b"))
            stop.set()

        def look() -> None:
            while not stop.is_set():
                with database.read() as session:
                    seen.append(len(session.exec(select(Audit)).all()))

        with ThreadPoolExecutor(9) as pool:
            work = [pool.submit(write), *(pool.submit(look) for _ in range(8))]
            for each in work:
                each.result()
        assert all(count % 2 == 0 for count in seen)
        with database.read() as session:
            assert len(session.exec(select(Audit)).all()) == 120

    def test_a_reader_goes_on_while_a_writer_is_under_way(self, database: Database) -> None:
        with database.write() as writing:
            writing.add(audit("new"))
            writing.flush()
            with database.read() as reading:
                assert reading.exec(select(Audit)).all() == []
        with database.read() as reading:
            assert len(reading.exec(select(Audit)).all()) == 1

    def test_an_exception_takes_everything_back(self, database: Database) -> None:
        class Trouble(Exception):
            pass

        def fail() -> None:
            with database.write() as session:
                session.add(audit())
                session.flush()
                raise Trouble

        with pytest.raises(Trouble):
            fail()
        with database.read() as session:
            assert session.exec(select(Audit)).all() == []

    def test_a_reading_session_commits_nothing(self, database: Database) -> None:
        with database.read() as session:
            session.add(audit())
        with database.read() as session:
            assert session.exec(select(Audit)).all() == []

    def test_rows_can_be_used_after_their_session(self, database: Database) -> None:
        with database.write() as session:
            row = audit("kept")
            session.add(row)
        assert (row.target, row.id) == ("kept", 1)


class TestValues:
    def test_times_come_back_in_utc_to_the_microsecond(self, database: Database) -> None:
        there = MOMENT.astimezone(timezone(timedelta(hours=-8)))
        with database.write() as session:
            session.add(audit(time=there))
        with database.read() as session:
            found = session.exec(select(Audit)).one().time
        assert (found, found.tzinfo) == (MOMENT, UTC)

    def test_a_time_without_a_zone_is_a_mistake(self, database: Database) -> None:
        with pytest.raises(Exception, match="a time without a zone"), database.write() as session:
            session.add(audit(time=datetime(2026, 1, 1)))

    @pytest.mark.parametrize("words", ["ü ☃ 𝄞", "a'b\"c;--", "x" * 100_000, "", "line\nline\t"])
    def test_any_text_comes_back_as_it_was(self, database: Database, words: str) -> None:
        with database.write() as session:
            session.add(audit(words))
            session.add(image(entrypoint=[words, words], cmd=[]))
        with database.read() as session:
            assert session.exec(select(Audit).where(Audit.target == words)).one().target == words
            assert session.exec(select(Image)).one().entrypoint == [words, words]

    def test_numbers_beyond_32_bits_come_back(self, database: Database) -> None:
        with database.write() as session:
            session.add(input_file(job_id=2**40, size=2**45, part_sizes=[2**33, 1]))
        with database.read() as session:
            found = session.exec(select(InputFile)).one()
        assert (found.job_id, found.size, found.part_sizes) == (2**40, 2**45, [2**33, 1])

    def test_the_numbers_of_rows_count_up(self, database: Database) -> None:
        for n in range(3):
            with database.write() as session:
                session.add(audit(str(n)))
        with database.read() as session:
            assert list(session.exec(select(Audit.id).order_by(col(Audit.id)))) == [1, 2, 3]


class TestErrors:
    def test_a_row_that_is_there_already_is_a_conflict(self, database: Database) -> None:
        with database.write() as session:
            session.add(image())
        with pytest.raises(ConflictError), database.write() as session:
            session.add(image())
        with database.write() as session:
            session.add(image(digest="sha256:2", tag="2.0"))

    def test_a_database_that_went_away_is_told_without_the_values_of_the_query(
        self, tmp_path: Path
    ) -> None:
        database = Database(f"sqlite:///{tmp_path}/cts.db")
        database.migrate()
        with database.engine.begin() as connection:
            connection.execute(text("DROP TABLE audit"))
        said = r"does not answer: no such table: audit$"
        with pytest.raises(StoreError, match=said) as caught, database.write() as session:
            session.add(audit("a user's words"))
        assert "a user's words" not in str(caught.value)

    def test_a_writer_that_cannot_get_the_lock_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.store.db._PATIENCE", 0.1)
        database = Database(f"sqlite:///{tmp_path}/cts.db")
        database.migrate()
        said = "does not answer: database is locked"
        with database.write(), pytest.raises(StoreError, match=said), database.write():
            raise AssertionError("two write at once")

    def test_an_unreachable_postgresql_is_told_without_its_password(self) -> None:
        url = "postgresql+psycopg://cts:s3cret@127.0.0.1:1/cts?connect_timeout=2"
        with pytest.raises(StoreError, match=r"cannot (reach|use) the database") as caught:
            Database(url).check()
        assert "s3cret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("", "not an SQLAlchemy URL"),
            ("/var/lib/cts.db", "not an SQLAlchemy URL"),
            ("sqlite://", "name a file"),
            ("sqlite:///:memory:", "name a file"),
            ("mysql://u:s3cret@h/d", "neither sqlite:////PATH nor postgresql"),
            ("postgresql+nodriver://u:s3cret@h/d", "cannot use the database"),
        ],
    )
    def test_a_url_that_cannot_serve_is_refused(self, url: str, said: str) -> None:
        with pytest.raises(StoreError, match=said) as caught:
            Database(url)
        assert "s3cret" not in str(caught.value)


class TestSchema:
    def test_the_migrations_make_exactly_the_tables_of_the_code(self, empty: Database) -> None:
        assert empty.migrate() == Database.wanted_version()
        assert gateway.store.tables.Job.metadata is SQLModel.metadata
        with empty.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, SQLModel.metadata) == []

    def test_migrating_twice_changes_nothing_and_keeps_the_rows(self, database: Database) -> None:
        with database.write() as session:
            session.add(audit("kept"))
        database.migrate()
        database.check()
        with database.read() as session:
            assert session.exec(select(Audit)).one().target == "kept"

    def test_a_database_of_the_first_release_is_brought_up_with_its_rows(
        self, empty: Database
    ) -> None:
        with empty.engine.begin() as connection:
            config = AlembicConfig()
            config.set_main_option("script_location", str(Path(db.__file__).parent / "migrations"))
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            connection.exec_driver_sql(
                "INSERT INTO image (id, name, digest, entrypoint, cmd, workdir, registered_by, registered_on)"
                " VALUES (1, 'a', 'd', '[]', '[]', '/', 'ada', '2026-11-24 05:40:06.000000')"
            )
        empty.migrate()
        empty.check()
        with empty.read() as session:
            image = session.exec(select(Image)).one()
            assert image.registered_by == "ada"
            # What was approved before platforms were known was for this one.
            assert list(image.platforms) == ["linux/amd64"]
            assert image.platforms["linux/amd64"]["digest"] == "d"
            assert image.platforms["linux/amd64"]["config"]["entrypoint"] == []
            assert (image.urls, image.usage_notes) == ([], None)

    def test_two_that_migrate_at_once_both_succeed(self, empty: Database) -> None:
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda _: empty.migrate(), range(4))) == {empty.wanted_version()}
        empty.check()

    def test_a_database_that_is_not_there_is_told_and_not_made(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"there is no database .*cts\.db yet: run 'ctsd mig"):
            Database(f"sqlite:///{tmp_path}/cts.db").check()
        assert list(tmp_path.iterdir()) == []

    def test_an_empty_database_is_told(self, empty: Database) -> None:
        if empty.file is not None:
            empty.file.touch()
        with pytest.raises(StoreError, match=r"is empty, this release wants schema .*: run 'ctsd"):
            empty.check()

    def test_an_older_database_is_told(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Database, "wanted_version", staticmethod(lambda: "9999"))
        with pytest.raises(
            StoreError, match=r"has schema \w+, this release wants schema 9999: run"
        ):
            database.check()

    def test_a_newer_database_is_neither_used_nor_migrated(self, database: Database) -> None:
        with database.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = 'f00d'"))
        for act in (database.check, database.migrate):
            with pytest.raises(
                StoreError, match=r"schema f00d, which this release .* not know: inst"
            ):
                act()

    def test_a_file_that_is_no_database_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "cts.db").write_text("Dear diary, " * 100)
        for act in ("check", "migrate"):
            with pytest.raises(StoreError, match="file is not a database"):
                getattr(Database(f"sqlite:///{tmp_path}/cts.db"), act)()

    def test_a_place_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"cannot make the database .*: No such file"):
            Database(f"sqlite:///{tmp_path}/none/cts.db").migrate()

    def test_the_file_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        database = Database(f"sqlite:///{tmp_path}/cts.db")
        database.migrate()
        with database.write() as session:
            session.add(audit())
            session.flush()
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        assert modes == dict.fromkeys(("cts.db", "cts.db-wal", "cts.db-shm"), 0o600)

    def test_commits_are_synced_and_readers_have_the_log(self, tmp_path: Path) -> None:
        database = Database(f"sqlite:///{tmp_path}/cts.db")
        with database.engine.connect() as connection:
            found = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        assert found == ["wal", 2, 1]
