"""Reference data over HTTP, by the client and by the commands: the real registry behind a served gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from gateway.client import Client, CtsError
from gateway.store import refdata as store
from gateway.store.tables import RefdataSite
from tests.api.gateway_fake import ME, FakeGateway
from tests.cli.run import run

PATH = "reference-data/db v1/a+b.tar.gz"


@pytest.fixture
def client(fake_admin: FakeGateway) -> Iterator[Client]:
    fake_admin.store.put(PATH, crc64nvme="ab+defghijk=")
    with Client(str(fake_admin.socket)) as made:
        yield made


def _at(fake: FakeGateway, state: str, error: str | None = None) -> None:
    with fake.database.write() as session:
        row = session.get(RefdataSite, (1, "dev")) or RefdataSite(
            refdata_id=1, site="dev", state=state
        )
        store.move(session, row, state, error)


def _first(fake: FakeGateway, client: Client) -> str:
    with fake.database.write() as session:
        session.connection().exec_driver_sql("DELETE FROM sqlite_sequence")
    return client.register_refdata(PATH, unpack=True).id


def test_the_client_registers_finds_recovers_and_cleans(
    fake_admin: FakeGateway, client: Client
) -> None:
    made = client.register_refdata(PATH, unpack=True, crc64nvme="ab+defghijk=")
    assert (made.file, made.registered_by, made.statuses) == (PATH, ME, [])
    assert client.refdata() == [made]
    assert client.refdata_by_path(PATH) == [made]
    assert client.refdata_by_id(made.id) == made
    with pytest.raises(CtsError) as refused:
        client.register_refdata(PATH)
    assert (refused.value.status, refused.value.appcode) == (400, 50100)
    assert client.register_refdata(PATH, force=True).id != made.id


def test_a_plus_of_base64_that_was_not_escaped_is_understood(
    fake_admin: FakeGateway, client: Client
) -> None:
    url = f"/admin/refdata/{PATH}?unpack=true&crc64nvme=ab+defghijk="
    assert fake_admin.http.post(url).status_code == 200
    wrong = fake_admin.http.post(f"/admin/refdata/{PATH}?crc64nvme=short")
    assert wrong.json()["error"]["appcode"] == 30010


def test_states_and_history_are_shown_and_what_an_admin_does_changes_them(
    fake_admin: FakeGateway, client: Client
) -> None:
    assert _first(fake_admin, client) == "1"
    for state in ("created", "download_submitted"):
        _at(fake_admin, state)
    with pytest.raises(CtsError) as refused:
        client.recover_refdata("1", "dev")
    assert refused.value.appcode == 30400
    _at(fake_admin, "error", "the archive is broken")
    listed = run(fake_admin, "cts", "refdata").out.splitlines()
    assert listed[1].split(maxsplit=4) == ["1", "dev", "error", "1000", PATH]
    shown = run(fake_admin, "cts", "refdata", "1").out
    assert "at dev: error" in shown
    assert "error: the archive is broken" in shown
    assert shown.count(" download_submitted") == 1
    assert run(fake_admin, "cts", "admin", "refdata", "recover", "1", "dev").code == 0
    assert client.refdata_by_id("1").statuses[0].state == "created"
    _at(fake_admin, "complete")
    done = run(fake_admin, "cts", "admin", "refdata", "clean", "1", "dev", "--json")
    assert json.loads(done.out) == {"cleaned": "1", "cluster": "dev"}
    assert client.refdata_by_id("1").statuses[0].error == f"it was removed from the site by {ME}"


def test_registering_prints_the_id_alone_and_json_has_it_all(
    fake_admin: FakeGateway, client: Client
) -> None:
    done = run(fake_admin, "cts", "admin", "refdata", "register", PATH, "--unpack")
    assert done.out.strip() == client.refdata()[0].id
    again = run(fake_admin, "cts", "admin", "refdata", "register", PATH)
    again.refused(2, "50100", "force it")
    whole = run(fake_admin, "cts", "admin", "refdata", "register", PATH, "--force", "--json")
    assert json.loads(whole.out)["file"] == PATH
    by_path = json.loads(run(fake_admin, "cts", "refdata", PATH, "--json").out)
    assert len(by_path) == 2


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["refdata", "7"], 3, "40060"),
        (["refdata", "a/b"], 2, "30020"),
        (["refdata", "bucket//x"], 2, "30020"),
        (["admin", "refdata", "register", "../jobs"], 2, "30020"),
        (["admin", "refdata", "register", "bucket/none.tar"], 3, "40010"),
        (["admin", "refdata", "recover", "7", "dev"], 3, "40060"),
        (["admin", "refdata", "clean", "..", "dev"], 3, "40000"),
    ],
)
def test_what_there_is_not_is_refused_in_one_line(
    fake_admin: FakeGateway, words: list[str], code: int, says: str
) -> None:
    run(fake_admin, "cts", *words).refused(code, says)


def test_who_is_no_admin_sees_it_and_changes_nothing(fake: FakeGateway) -> None:
    assert run(fake, "cts", "refdata").code == 0
    for words in (
        ["register", PATH],
        ["recover", "1", "dev"],
        ["clean", "1", "dev"],
    ):
        run(fake, "cts", "admin", "refdata", *words).refused(3, "20000")
    assert fake.http.get("/refdata").json() == {"data": []}


def test_an_image_is_approved_with_its_data_and_a_place_that_can_be(
    fake_admin: FakeGateway,
) -> None:
    done = run(
        fake_admin,
        *("cts", "admin", "image", "approve", "ghcr.io/kbase/checksum:1.0", "--json"),
        *("--refdata", "3", "--refdata-mount-point", "/db/../db"),
    )
    image = json.loads(done.out)
    assert (image["refdata_id"], image["default_refdata_mount_point"]) == ("3", "/db")
    run(
        fake_admin,
        *("cts", "admin", "image", "approve", "ghcr.io/kbase/checksum:1.0"),
        *("--refdata", "3", "--refdata-mount-point", "/.."),
    ).refused(2, "30010")
