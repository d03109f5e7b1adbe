"""Lists of jobs: by name, label and image, by pages, and those that others share."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session, select

from gateway.errors import AppCode, GatewayError
from gateway.jobs.filters import Narrow, read_cursor, read_image, read_label
from gateway.jobs.parts import Sharing
from gateway.jobs.service import JobService
from gateway.reports import acct
from gateway.store import listing
from gateway.store.tables import Audit, JobLabel
from tests.daemon.world import ADA, ALICE, BOB, IMAGE, World

NOTHING: dict[str, Any] = {"cluster": None, "state": None, "after": None, "before": None}


class Lists:
    """The service at a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.service = JobService(world.database, None, None, lambda _: None)  # type: ignore[arg-type]

    def add(self, labels: dict[str, str] | None = None, **fields: Any) -> int:
        """A job with labels."""
        image = fields.get("image", IMAGE)
        number = self.world.add(image_name=image["name"], **fields)
        with self.world.database.write() as session:
            for key, value in (labels or {}).items():
                user = fields.get("user", "alice")
                session.add(JobLabel(job_id=number, key=key, user=user, value=value))
        return number

    def ids(self, caller: Any = ALICE, *, limit: int = 1000, **narrow: Any) -> list[int]:
        """The jobs of a list."""
        more = {key: narrow.pop(key) for key in ("user", "everyone", "state") if key in narrow}
        rows = self.service.list_jobs(
            caller, **NOTHING | more, limit=limit, narrow=Narrow(**narrow)
        )
        return [int(row.id) for row in rows]


@pytest.fixture
def lists(world: World) -> Lists:
    """The service as it comes."""
    return Lists(world)


def test_jobs_are_found_by_name_and_by_labels_of_which_all_must_hold(lists: Lists) -> None:
    plain, named = lists.add(), lists.add(name="soil")
    one = lists.add({"project": "soil", "run": "1"})
    two = lists.add({"project": "soil", "run": "2"}, name="soil")
    his = lists.add({"project": "soil"}, user="bob")
    assert lists.ids(name="soil") == [two, named]
    assert lists.ids(labels=(("project", None),)) == [two, one]
    assert lists.ids(labels=(("project", "soil"), ("run", "1"))) == [one]
    assert lists.ids(labels=(("project", "soil"), ("run", None)), name="soil") == [two]
    assert lists.ids(labels=(("run", "1"), ("run", "2"))) == []
    assert lists.ids(labels=(("project", "Soil"),)) == []
    assert lists.ids(BOB, labels=(("project", None),)) == [his]
    assert lists.ids(ADA, labels=(("project", "soil"),), everyone=True) == [his, two, one]
    assert plain in lists.ids()


def test_jobs_are_found_by_image_as_users_write_it(lists: Lists) -> None:
    other = {**IMAGE, "tag": "2.0", "digest": "sha256:" + "b" * 64}
    one, two = lists.add(), lists.add(image=other)
    assert lists.ids(image=read_image("ghcr.io/kbase/sum")) == [two, one]
    assert lists.ids(image=read_image("ghcr.io/kbase/sum:1.0")) == [one]
    assert lists.ids(image=read_image(f"ghcr.io/kbase/sum@{other['digest']}")) == [two]
    assert lists.ids(image=read_image("ghcr.io/kbase/sum:latest")) == []
    assert lists.ids(image=read_image("sum")) == []


@pytest.mark.parametrize("text_", ["", "=x", "-a", "a b=c", "a" * 64])
def test_what_is_no_label_is_refused(text_: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_label(text_)
    assert caught.value.code is AppCode.ILLEGAL_PARAMETER


@pytest.mark.parametrize("text_", ["", "0", "-1", "x", "1_0", "1" * 19])
def test_what_is_no_cursor_is_refused(text_: str) -> None:
    with pytest.raises(GatewayError):
        read_cursor(text_)


@pytest.mark.parametrize("labels", [(), (("a", None),), (("a", "1"),)])
def test_pages_neither_miss_nor_repeat_jobs_while_others_come_and_change(
    lists: Lists, labels: Any
) -> None:
    there = [lists.add({"a": "1"}) for _ in range(7)]
    seen: list[int] = []
    cursor = 0
    while page := lists.ids(limit=2, cursor=cursor, labels=labels):
        seen += page
        cursor = page[-1]
        lists.add({"a": "1"})  # a new one
        lists.world.age(there[0], days=-1)  # the oldest is updated last now
        lists.world.age(seen[0], days=1)
    assert seen == there[::-1]


def _plan(lists: Lists, **narrow: Any) -> str:
    """How SQLite finds a page."""
    said: list[str] = []
    with lists.world.database.read() as session:
        asked = _Asked(session)
        listing.listed(asked, listing.Filter(**narrow), 10, 500)  # type: ignore[arg-type]
        statement = asked.statement.compile(
            lists.world.database.engine, compile_kwargs={"literal_binds": True}
        )
        rows = session.execute(text(f"EXPLAIN QUERY PLAN {statement}".replace(":", r"\:")))
        said = [str(row[3]) for row in rows]
    return "\n".join(said)


class _Asked:
    def __init__(self, session: Session) -> None:
        self._session = session
        self.statement: Any = None

    def exec(self, statement: Any) -> list[Any]:
        self.statement = statement
        return []


@pytest.mark.parametrize(
    ("narrow", "index"),
    [
        ({"user": "alice"}, "ix_job_user_id"),
        ({"user": "alice", "name": "x"}, "ix_job_user_name"),
        ({"user": "alice", "image": ("docker.io/library/x", None, None)}, "ix_job_user_image"),
        ({"user": "alice", "labels": (("a", None),)}, "ix_job_label_user_key"),
        ({"user": "alice", "labels": (("a", "1"),)}, "ix_job_label_user_value"),
        ({"labels": (("a", "1"),)}, "ix_job_label_value"),
    ],
)
def test_a_page_is_read_off_an_index_in_its_order(
    lists: Lists, narrow: dict[str, Any], index: str
) -> None:
    plan = _plan(lists, **narrow)
    assert index in plan
    assert "TEMP B-TREE" not in plan
    assert "SCAN" not in plan


class TestSharing:
    def test_who_it_is_shared_with_reads_it_and_cannot_change_it(self, lists: Lists) -> None:
        number = lists.add()
        lists.service.share(ALICE, number, Sharing(users=("bob",)))
        for read in (lists.service.job, lists.service.status, lists.service.containers):
            read(BOB, number)
        assert lists.service.exit_codes(BOB, number) == [None]
        assert lists.service.script(BOB, number) == []
        assert lists.service.job(BOB, number).shared_with.users == ["bob"]
        with pytest.raises(GatewayError, match="is alice's") as caught:
            lists.service.cancel(BOB, number)
        assert caught.value.code is AppCode.UNAUTHORIZED
        with pytest.raises(GatewayError, match="is alice's") as caught:
            lists.service.share(BOB, number, Sharing())
        assert caught.value.code is AppCode.UNAUTHORIZED
        assert lists.world.job(number).cancel_by is None

    def test_a_group_is_that_of_the_system(self, lists: Lists) -> None:
        number = lists.add()
        lists.service.share(ALICE, number, Sharing(groups=("lab", "users")))
        lists.service.job(BOB, number)
        lists.service.share(ALICE, number, Sharing(users=("users",), groups=("lab",)))
        with pytest.raises(GatewayError) as caught:
            lists.service.job(BOB, number)
        assert caught.value.code is AppCode.NO_SUCH_JOB

    def test_a_list_has_shared_jobs_only_when_they_are_asked_for(self, lists: Lists) -> None:
        mine, his, theirs = lists.add(), lists.add(user="bob"), lists.add(user="carol")
        lists.service.share(ALICE, mine, Sharing(users=("bob", "alice")))
        lists.service.share(ADA, theirs, Sharing(groups=("users",)))
        assert lists.ids(BOB) == [his]
        assert lists.ids(BOB, shared=True) == [theirs, mine]
        assert lists.ids(BOB, shared=True, cursor=0) == [theirs, mine]
        assert lists.ids(ALICE, shared=True) == [theirs]

    def test_each_change_is_a_row_of_the_audit(self, lists: Lists) -> None:
        number = lists.add()
        lists.service.share(ALICE, number, Sharing(users=("bob",), groups=("lab",)))
        lists.service.share(ALICE, number, Sharing())
        with lists.world.database.read() as session:
            rows = session.exec(select(Audit)).all()
        assert [(r.action, r.target, r.result) for r in rows] == [
            ("job.share", str(number), "user bob, group lab"),
            ("job.share", str(number), "nobody"),
        ]

    def test_the_accounting_of_a_shared_job_is_read_where_it_is_named(self, lists: Lists) -> None:
        from gateway.ids import parse_ref

        shared, other = lists.add(), lists.add()
        lists.service.share(ALICE, shared, Sharing(users=("bob",)))

        def named(*numbers: int) -> list[str]:
            refs = [parse_ref(str(n)) for n in numbers]
            with lists.world.database.read() as session:
                rows = acct.rows(
                    session,
                    acct.Wanted(user="bob", refs=refs, limit=10),
                    listing.Reader("bob", frozenset()),
                )
            return [row.JobID for row in rows if "_" not in row.JobID]

        assert named(shared, other) == [str(shared)]
        assert named() == []
