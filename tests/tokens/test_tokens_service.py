"""Tokens: told once, stored as a hash, ended in time or at once, and refused without telling more than is safe."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlmodel import select

from gateway.errors import AppCode, GatewayError, StoreError
from gateway.jobs.caller import Caller
from gateway.jobs.tokens import MOST, Tokens
from gateway.store.db import Database
from gateway.store.tables import Audit, Token

ALICE = Caller("alice", 1000, frozenset(), False, "uid=1000 pid=7")
BOB = Caller("bob", 1001, frozenset(), False, "uid=1001 pid=8")
ADA = Caller("ada", 1002, frozenset(), True, "uid=1002 pid=9")
DAY = 86400
ELSEWHERE = "address=192.0.2.7"


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def on(self, **by: float) -> None:
        """Turn it on."""
        self.time += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    """The clock of `tokens`."""
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database of this release."""
    made = Database(f"sqlite:///{tmp_path}/cts.db")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def tokens(database: Database, clock: Clock) -> Tokens:
    """The service, with tokens of a year at most."""
    return Tokens(database, 365, clock)


def make(tokens: Tokens, caller: Caller = ALICE, expires_in: int | None = None) -> tuple[str, str]:
    """Make a token; returns its id and the whole."""
    made = tokens.create(caller, name="laptop", expires_in=expires_in)
    return made.id, made.token


def refused(tokens: Tokens, text: str) -> str:
    """Check that a token does not work; returns what is said."""
    with pytest.raises(GatewayError) as caught:
        tokens.check(text, ELSEWHERE)
    assert caught.value.code is AppCode.INVALID_TOKEN
    return caught.value.message


def rows(database: Database, action: str) -> list[Audit]:
    """The audit rows of an action."""
    with database.read() as session:
        return list(session.exec(select(Audit).where(Audit.action == action)))


def test_a_token_stands_for_its_user_and_has_256_random_bits(tokens: Tokens) -> None:
    public, text = make(tokens)
    assert text.startswith(f"cts_{public}_")
    assert len(bytes.fromhex(text.rpartition("_")[2])) == 32
    use = tokens.check(text, ELSEWHERE)
    assert (use.user, use.token_id) == ("alice", public)
    assert len({make(tokens)[1] for _ in range(20)}) == 20


def test_the_database_holds_the_hash_alone(tokens: Tokens, database: Database) -> None:
    public, text = make(tokens)
    with database.read() as session:
        row = session.get(Token, public)
    assert row is not None
    assert row.digest == hashlib.sha256(text.encode()).hexdigest()
    assert database.file is not None
    everything = "\n".join(sqlite3.connect(database.file).iterdump())
    assert public in everything
    assert text not in everything
    assert text.rpartition("_")[2] not in everything


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:-1] + ("0" if t[-1] != "0" else "1"),
        lambda t: t[:-1],
        lambda t: t + "0",
        lambda t: t.upper(),
        lambda t: t.replace("cts_", ""),
        lambda t: t[:17] + "0" * 64,
        lambda t: f"cts_{'0' * 12}_{t.rpartition('_')[2]}",
        lambda t: "",
        lambda t: "' OR 1=1 --",
        lambda t: "\ud800",
        lambda t: "cts_\u0661" + t[5:],
    ],
)
def test_what_is_not_exactly_a_token_is_refused_with_the_same_words(
    tokens: Tokens, change: object
) -> None:
    _, text = make(tokens)
    assert callable(change)
    assert refused(tokens, change(text)).startswith("The token is not valid; make a new one")


def test_a_token_works_for_30_days_unless_another_time_is_asked_for(
    tokens: Tokens, clock: Clock
) -> None:
    _, month = make(tokens)
    _, hour = make(tokens, expires_in=3600)
    clock.on(seconds=3599)
    tokens.check(hour, ELSEWHERE)
    clock.on(seconds=1)
    assert "expired on 2026-01-31" in refused(tokens, hour)
    clock.on(seconds=30 * DAY - 3601)
    tokens.check(month, ELSEWHERE)
    clock.on(seconds=1)
    assert "expired on 2026-03-02" in refused(tokens, month)


def test_no_token_works_longer_than_the_configuration_lets_it(
    database: Database, clock: Clock
) -> None:
    tokens = Tokens(database, 7, clock)
    make(tokens, expires_in=7 * DAY)
    for seconds in (7 * DAY + 1, 10**30):
        with pytest.raises(GatewayError, match="for 7 days at most") as caught:
            make(tokens, expires_in=seconds)
        assert caught.value.code is AppCode.ILLEGAL_PARAMETER
    made = tokens.create(ALICE, name=None, expires_in=None)
    assert made.expires - made.created == timedelta(days=7)


def test_a_revoked_token_is_refused_at_once_and_twice_is_no_error(
    tokens: Tokens, database: Database
) -> None:
    public, text = make(tokens)
    tokens.check(text, ELSEWHERE)
    tokens.revoke(ALICE, public)
    assert f"The token {public} was revoked" in refused(tokens, text)
    tokens.revoke(ALICE, public)
    assert [row.target for row in rows(database, "token.revoke")] == [f"{public} of alice"]


def test_only_who_has_the_whole_token_is_told_why_it_does_not_work(tokens: Tokens) -> None:
    public, text = make(tokens)
    tokens.revoke(ALICE, public)
    forged = f"cts_{public}_{'0' * 64}"
    assert refused(tokens, forged) == refused(tokens, f"cts_{'0' * 12}_{'0' * 64}")
    assert "revoked" in refused(tokens, text)


def test_a_token_of_somebody_else_is_not_there_but_an_admin_ends_it(tokens: Tokens) -> None:
    public, text = make(tokens)
    for name in (public, "0" * 12, "../jobs", ""):
        with pytest.raises(GatewayError, match="no such token of yours") as caught:
            tokens.revoke(BOB, name)
        assert caught.value.code is AppCode.NOT_FOUND
    tokens.check(text, ELSEWHERE)
    tokens.revoke(ADA, public, anybodys=True)
    assert "revoked" in refused(tokens, text)
    assert tokens.mine(ALICE)[0].revoked_by == "ada"


def test_a_token_makes_no_tokens_not_even_an_admins(tokens: Tokens, database: Database) -> None:
    for caller in (ALICE, ADA):
        held = Caller(caller.user, None, frozenset(), caller.admin, ELSEWHERE, "a" * 12)
        with pytest.raises(GatewayError, match="cannot make tokens") as caught:
            tokens.create(held, name=None, expires_in=None)
        assert caught.value.code is AppCode.UNAUTHORIZED
        assert tokens.everything(None) == []
    assert [row.origin for row in rows(database, "token.create")] == [ELSEWHERE] * 2


def test_an_admin_makes_a_token_for_anybody_with_a_possible_name(tokens: Tokens) -> None:
    made = tokens.create(ADA, name=None, expires_in=None, user="robot@lab.example")
    assert (made.user, made.created_by) == ("robot@lab.example", "ada")
    assert tokens.check(made.token, ELSEWHERE).user == "robot@lab.example"
    for name in ("", "a b", "../x", "-x", "a" * 65, "\u00e9ve", "x\n", "{user}"):
        with pytest.raises(GatewayError, match="no name of a user") as caught:
            tokens.create(ADA, name=None, expires_in=None, user=name)
        assert caught.value.code is AppCode.INVALID_USER


def test_lists_have_ones_own_the_newest_first_and_never_the_secret(
    tokens: Tokens, clock: Clock
) -> None:
    first, text = make(tokens, expires_in=60)
    clock.on(minutes=1)
    second, _ = make(tokens)
    third, _ = make(tokens, BOB)
    tokens.revoke(BOB, third)
    assert [(t.id, t.state) for t in tokens.mine(ALICE)] == [(second, "active"), (first, "expired")]
    assert [t.id for t in tokens.everything("bob")] == [third]
    assert {t.state for t in tokens.everything(None)} == {"active", "expired", "revoked"}
    assert text.rpartition("_")[2] not in str(tokens.everything(None))


def test_the_last_use_is_written_down_once_a_minute_at_most(
    tokens: Tokens, clock: Clock, database: Database
) -> None:
    public, text = make(tokens)
    written: Counter[str] = Counter()
    event.listen(
        database.engine,
        "before_cursor_execute",
        lambda *args: written.update([str(args[2]).split()[0]]),
    )
    assert tokens.mine(ALICE)[0].last_used is None
    for second in range(150):
        tokens.check(text, ELSEWHERE)
        assert tokens.mine(ALICE)[0].last_used is not None
        assert second < 149 or written["UPDATE"] == 3
        clock.on(seconds=1)
    assert tokens.mine(ALICE)[0].last_used == datetime(2026, 1, 31, 12, 2, tzinfo=UTC)
    assert public == tokens.mine(ALICE)[0].id


def test_a_database_that_cannot_be_written_does_not_keep_a_token_from_reading(
    tokens: Tokens, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = make(tokens)

    def full() -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(database, "write", full)
    assert tokens.check(text, ELSEWHERE).user == "alice"
    refused(tokens, text[:-1])


def test_a_user_has_so_many_tokens_that_work_and_no_more(tokens: Tokens, clock: Clock) -> None:
    made = [make(tokens, expires_in=60 if n else None)[0] for n in range(MOST)]
    with pytest.raises(GatewayError, match=f"has {MOST} tokens") as caught:
        make(tokens)
    assert caught.value.code is AppCode.RESOURCE_UNAVAILABLE
    make(tokens, BOB)
    tokens.revoke(ALICE, made[0])
    make(tokens)
    clock.on(minutes=1)
    make(tokens)


def test_a_token_that_ended_is_listed_for_90_days(tokens: Tokens, clock: Clock) -> None:
    old, _ = make(tokens, expires_in=60)
    gone, _ = make(tokens, expires_in=300 * DAY)
    tokens.revoke(ALICE, gone)
    kept, _ = make(tokens, expires_in=300 * DAY)
    clock.on(days=89)
    make(tokens)
    assert {old, gone, kept} <= {t.id for t in tokens.mine(ALICE)}
    clock.on(days=2)
    make(tokens)
    assert {t.id for t in tokens.mine(ALICE)} & {old, gone, kept} == {kept}


def test_what_is_done_to_tokens_is_written_down_with_who_and_whence(
    tokens: Tokens, database: Database
) -> None:
    public, text = make(tokens)
    tokens.revoke(ADA, public, anybodys=True)
    refused(tokens, text)
    with database.read() as session:
        found = [(r.user, r.origin, r.action, r.target) for r in session.exec(select(Audit))]
    assert found == [
        ("alice", "uid=1000 pid=7", "token.create", f"{public} of alice"),
        ("ada", "uid=1002 pid=9", "token.revoke", f"{public} of alice"),
        ("alice", ELSEWHERE, "token.use", public),
    ]


def test_refused_uses_are_written_down_now_and_then_and_fill_no_disk(
    tokens: Tokens, database: Database, clock: Clock
) -> None:
    for _ in range(50):
        refused(tokens, "x")
    assert len(rows(database, "token.use")) == 1
    clock.on(minutes=10)
    refused(tokens, "x")
    assert "49 more" in rows(database, "token.use")[-1].result
    for n in range(1000):
        with pytest.raises(GatewayError):
            tokens.check("x", f"address=198.51.100.{n}")
    assert len(rows(database, "token.use")) <= 601
    clock.on(hours=1)
    refused(tokens, "x")
    assert len(rows(database, "token.use")) <= 602


def test_an_id_that_is_made_up_does_not_stand_in_the_audit_log(
    tokens: Tokens, database: Database
) -> None:
    refused(tokens, f"cts_{'b' * 12}_{'0' * 64}")
    (row,) = rows(database, "token.use")
    assert (row.user, row.target) == ("-", "unknown")


def test_tokens_outlive_the_daemon(tokens: Tokens, database: Database, clock: Clock) -> None:
    _, text = make(tokens)
    database.close()
    again = Database(f"sqlite:///{database.file}")
    assert Tokens(again, 365, clock).check(text, ELSEWHERE).user == "alice"
    again.close()
