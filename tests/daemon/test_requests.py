"""What users ask the admins for: asked once, answered once, seen by who asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlmodel import select

from gateway import wire
from gateway.config import PathRule
from gateway.daemon.request_service import MOST_PENDING, RequestService
from gateway.errors import AppCode, GatewayError
from gateway.jobs.caller import Caller
from gateway.store.tables import Audit
from tests.api.gateway_fake import IMAGE, FakeImages
from tests.daemon.world import ADA, ALICE, World
from tests.refdata.depot import Depot

BOB = Caller("bob", 3, frozenset(), False, "uid=3 pid=1")
WANTED = "ghcr.io/kbase/wanted:1.0"


class Images(FakeImages):
    """Images of which one is approved, and others become so unless their registry fails."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: GatewayError | None = None
        self.given: dict[str, Any] = {}
        self.approved = {f"{IMAGE.name}:1.0": IMAGE}

    def get(self, name: str) -> wire.Image:
        if name not in self.approved:
            raise GatewayError(AppCode.NO_SUCH_IMAGE, "not approved")
        return self.approved[name]

    def approve(self, caller: Caller, name: str, **options: Any) -> wire.Image:
        self.given = {"caller": caller.user, "name": name, **options}
        if self.fails is not None:
            raise self.fails
        if name in self.approved:
            raise GatewayError(AppCode.IMAGE_DIGEST_EXISTS, "it is approved already")
        self.approved[name] = IMAGE.model_copy(update={"name": name.rpartition(":")[0]})
        return self.approved[name]


class Desk:
    """Where requests are handed in."""

    def __init__(self, world: World, rules: Sequence[PathRule] = ()) -> None:
        self.world = world
        self.images = Images()
        self.depot = Depot(world)
        self.service = RequestService(
            world.database, world.store, rules, self.images, self.depot.service
        )

    def ask(self, caller: Caller = ALICE, target: str = WANTED, note: str = "why") -> wire.Request:
        return self.service.ask(caller, "image", target, unpack=False, note=note)

    def ask_data(self, caller: Caller, target: str, *, unpack: bool = False) -> wire.Request:
        return self.service.ask(caller, "refdata", target, unpack=unpack, note=None)

    def actions(self) -> list[tuple[str, str, str]]:
        with self.world.database.read() as session:
            return [(row.user, row.action, row.result) for row in session.exec(select(Audit))]


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def refused(act: Callable[[], object]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        act()
    return caught.value


def test_a_request_is_seen_by_who_asked_and_by_admins_alone(desk: Desk) -> None:
    made = desk.ask(target="kbase/wanted")
    assert (made.state, made.user, made.note) == ("pending", "alice", "why")
    assert made.target == "docker.io/kbase/wanted:latest"
    assert [each.id for each in desk.service.mine(ALICE, None)] == [made.id]
    assert desk.service.mine(BOB, None) == []
    assert desk.service.get(ADA, made.id).id == made.id
    error = refused(lambda: desk.service.get(BOB, made.id))
    unknown = refused(lambda: desk.service.get(BOB, "999"))
    assert (error.code, unknown.code) == (AppCode.NOT_FOUND, AppCode.NOT_FOUND)
    assert error.message.replace(made.id, "N") == unknown.message.replace("999", "N")
    assert refused(lambda: desk.service.get(ALICE, "x")).code is AppCode.NOT_FOUND


def test_what_is_pending_is_not_asked_twice(desk: Desk) -> None:
    first = desk.ask()
    assert desk.ask(note="again") == first
    assert desk.ask(BOB).id != first.id
    assert len(desk.service.everything(None, "pending")) == 2
    assert [row[1] for row in desk.actions()] == ["request.image", "request.image"]


def test_an_approval_answers_everybody_who_waits_for_the_same(desk: Desk) -> None:
    mine, others = desk.ask(), desk.ask(BOB)
    other = desk.ask(target="ghcr.io/kbase/other:1.0")
    options = {"urls": ["https://x.example"], "usage_notes": "so", "stage": True}
    done = desk.service.approve(ADA, mine.id, answer="enjoy", **options)  # type: ignore[arg-type]
    assert (done.state, done.answered_by, done.answer) == ("approved", "ada", "enjoy")
    assert done.result == f"ghcr.io/kbase/wanted@{IMAGE.digest}"
    assert desk.images.given["caller"] == "ada"
    assert {name: desk.images.given[name] for name in options} == options
    assert desk.service.get(BOB, others.id).state == "approved"
    assert desk.service.get(ALICE, other.id).state == "pending"
    assert desk.service.everything("bob", None)[0].answer == "enjoy"
    assert ("ada", "request.approve", "ok") in desk.actions()


def test_an_approval_that_fails_leaves_it_pending_and_says_why(desk: Desk) -> None:
    made = desk.ask()
    desk.images.fails = GatewayError(AppCode.IMAGE_FETCH, "There is no image")
    error = refused(lambda: desk.service.approve(ADA, made.id, answer=None))
    assert error.code is AppCode.IMAGE_FETCH
    assert desk.service.get(ALICE, made.id).state == "pending"
    assert ("ada", "request.approve", "There is no image") in desk.actions()


def test_what_was_approved_without_the_request_answers_it_as_well(desk: Desk) -> None:
    made = desk.ask()
    desk.images.approve(ADA, WANTED)
    done = desk.service.approve(ADA, made.id, answer=None)
    assert (done.state, done.result) == ("approved", f"ghcr.io/kbase/wanted@{IMAGE.digest}")


def test_a_refusal_tells_why_and_what_is_answered_stays_so(desk: Desk) -> None:
    made = desk.ask()
    done = desk.service.decline(ADA, made.id, "version 1.1 has it")
    assert (done.state, done.answer, done.result) == ("declined", "version 1.1 has it", None)
    for act in (
        lambda: desk.service.decline(ADA, made.id, "no"),
        lambda: desk.service.approve(ADA, made.id, answer=None),
    ):
        error = refused(act)
        assert error.code is AppCode.ILLEGAL_PARAMETER
        assert f"The request {made.id} was declined by ada" in error.message
    assert desk.images.given == {}
    assert desk.ask().id != made.id  # asking again is a new request


def test_an_image_that_is_there_is_not_asked_for(desk: Desk) -> None:
    error = refused(lambda: desk.ask(target=f"{IMAGE.name}:1.0"))
    assert error.code is AppCode.IMAGE_DIGEST_EXISTS
    assert refused(lambda: desk.ask(target="a@md5:1")).code is AppCode.IMAGE_NAME_PARSE


def test_a_user_has_a_bounded_number_of_requests_that_wait(desk: Desk) -> None:
    made = [desk.ask(target=f"lab/tool:{n}") for n in range(MOST_PENDING)]
    error = refused(lambda: desk.ask(target="lab/tool:more"))
    assert error.code is AppCode.RESOURCE_UNAVAILABLE
    assert desk.ask(target="lab/tool:0") == made[0]
    desk.ask(BOB, target="lab/tool:more")
    desk.service.decline(ADA, made[0].id, "no")
    desk.ask(target="lab/tool:more")


def test_reference_data_is_registered_as_it_was_asked_for(desk: Desk) -> None:
    path = desk.depot.put("db.tar")
    made = desk.ask_data(ALICE, path, unpack=True)
    assert (made.kind, made.target, made.unpack) == ("refdata", path, True)
    whole = desk.ask_data(ALICE, path)
    assert whole.id != made.id
    done = desk.service.approve(ADA, made.id, answer=None)
    data = desk.depot.service.get(done.result or "")
    assert (data.file, data.unpack, data.registered_by) == (path, True, "ada")
    assert desk.service.get(ALICE, whole.id).state == "pending"
    error = refused(lambda: desk.ask_data(BOB, path, unpack=True))
    assert error.code is AppCode.REFDATA_EXISTS
    assert f"registered already as {data.id}" in error.message


def test_data_that_cannot_be_is_not_asked_for(desk: Desk) -> None:
    there = desk.depot.put("notes.txt")
    for target, unpack, code in (
        ("no-slash", False, AppCode.ILLEGAL_S3_PATH),
        (f"{there}.none", False, AppCode.S3_PATH_NOT_FOUND),
        (there, True, AppCode.ILLEGAL_PARAMETER),
    ):
        error = refused(lambda t=target, u=unpack: desk.ask_data(ALICE, t, unpack=u))  # type: ignore[misc]
        assert error.code is code


def test_nobody_gets_at_data_by_a_request_that_the_rules_do_not_give_them(world: World) -> None:
    desk = Desk(world, [PathRule(path="lab-{user}", perm="read")])
    path = desk.depot.put("db.tar")
    assert refused(lambda: desk.ask_data(ALICE, path)).code is AppCode.S3_PATH_INACCESSIBLE
