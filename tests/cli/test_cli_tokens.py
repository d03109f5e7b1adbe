"""cts token and cts admin token."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.api.gateway_fake import ME, FakeGateway
from tests.cli.run import run


def test_create_prints_the_token_alone_and_the_rest_aside(fake: FakeGateway) -> None:
    done = run(fake, "cts", "token", "create", "--name", "laptop", "--expires", "12h")
    assert done.code == 0
    (made,) = fake.tokens.everything(ME)
    assert done.out.startswith(f"cts_{made.id}_")
    assert len(done.out.splitlines()) == 1
    assert f"token {made.id} of {ME}, shown this once; it works until" in done.err
    assert (made.name, (made.expires - made.created).total_seconds()) == ("laptop", 12 * 3600)
    assert fake.tokens.check(done.out.strip(), "").user == ME


def test_create_as_json_has_the_token_too(fake: FakeGateway) -> None:
    done = run(fake, "cts", "token", "create", "--json")
    made = json.loads(done.out)
    assert fake.tokens.check(made["token"], "").token_id == made["id"]


def test_create_writes_a_file_that_its_owner_alone_reads(fake: FakeGateway, tmp_path: Path) -> None:
    path = tmp_path / ".config" / "cts" / "token"
    for _ in range(2):  # a new one takes the place of the old
        done = run(fake, "cts", "token", "create", "-o", str(path))
        assert (done.code, done.out) == (0, "")
        assert f"in {path}" in done.err
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert fake.tokens.check(path.read_text().strip(), "").user == ME
    done = run(fake, "cts", "token", "create", "--json", "-o", str(path))
    assert "token" not in json.loads(done.out)
    options = ("--url", fake.url, "--token-file", str(path), "--ca-file", str(fake.authority.ca))
    assert run(fake, "cts", "whoami", *options).code == 0


def test_a_token_that_could_not_be_written_is_revoked(fake: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(fake, "cts", "token", "create", "-o", str(tmp_path / "file" / "token"))
    done.refused(2, "cannot write", "the token was revoked")
    assert [t.state for t in fake.tokens.everything(None)] == ["revoked"]


@pytest.mark.parametrize("text", ["30", "d", "0d", "1.5d", "-1d", "30 d", "1y", "", "9" * 20 + "d"])
def test_an_expiry_that_is_no_time_is_told_its_form(fake: FakeGateway, text: str) -> None:
    done = run(fake, "cts", "token", "create", f"--expires={text}")
    done.refused(2, f"--expires {text}", "such as 12h, 30d or 8w")
    assert fake.tokens.everything(None) == []


def test_an_expiry_beyond_the_limit_is_refused_by_the_gateway(fake: FakeGateway) -> None:
    run(fake, "cts", "token", "create", "--expires", "53w").refused(2, "365 days at most")


def test_a_token_makes_no_tokens(fake: FakeGateway, tmp_path: Path) -> None:
    path = tmp_path / "token"
    run(fake, "cts", "token", "create", "-o", str(path))
    options = ("--url", fake.url, "--token-file", str(path), "--ca-file", str(fake.authority.ca))
    run(fake, "cts", "token", "create", *options).refused(3, "cannot make tokens")


def test_list_shows_what_there_is_but_no_secret(fake: FakeGateway) -> None:
    text = fake.token()
    fake.token("bob")
    done = run(fake, "cts", "token", "list")
    assert done.out.split()[:7] == ["ID", "USER", "STATE", "CREATED", "EXPIRES", "LAST", "USED"]
    assert done.out.splitlines()[1].split()[:3] == [text.split("_")[1], ME, "active"]
    assert "never" in done.out
    assert "bob" not in done.out
    assert text.rpartition("_")[2] not in done.out
    assert json.loads(run(fake, "cts", "token", "list", "--json").out)[0]["user"] == ME


def test_revoke_ends_tokens_and_tells_of_each_that_is_not_there(fake: FakeGateway) -> None:
    text = fake.token()
    foreign = fake.token("bob").split("_")[1]
    done = run(fake, "cts", "token", "revoke", text.split("_")[1], foreign, "x", "--json")
    assert done.code == 3
    assert json.loads(done.out) == {"revoked": [text.split("_")[1]]}
    assert done.err.count("error: ") == 2
    assert {t.user: t.state for t in fake.tokens.everything(None)} == {
        ME: "revoked",
        "bob": "active",
    }


def test_a_leaked_token_can_be_revoked_as_it_is_and_is_not_sent(fake: FakeGateway) -> None:
    text = fake.token()
    assert run(fake, "cts", "token", "revoke", text).code == 0
    assert [t.state for t in fake.tokens.everything(ME)] == ["revoked"]
    assert text.rpartition("_")[2] not in fake.log.text


def test_admins_make_list_and_end_anybodys(fake_admin: FakeGateway) -> None:
    done = run(fake_admin, "cts", "admin", "token", "create", "robot", "--expires", "1w")
    assert fake_admin.tokens.check(done.out.strip(), "").user == "robot"
    assert run(fake_admin, "cts", "token", "create", "--user", "alice").code == 0
    rows = json.loads(run(fake_admin, "cts", "admin", "token", "list", "--json").out)
    assert {row["user"] for row in rows} == {"robot", "alice"}
    table = run(fake_admin, "cts", "admin", "token", "list", "-u", "robot").out
    assert len(table.splitlines()) == 2
    public = done.out.split("_")[1]
    assert run(fake_admin, "cts", "admin", "token", "revoke", public).code == 0
    assert {t.user: t.state for t in fake_admin.tokens.everything(None)} == {
        "robot": "revoked",
        "alice": "active",
    }


def test_who_is_no_admin_may_not(fake: FakeGateway) -> None:
    for words in (
        ("admin", "token", "create", "bob"),
        ("admin", "token", "list"),
        ("admin", "token", "revoke", "0" * 12),
        ("token", "create", "--user", "bob"),
    ):
        run(fake, "cts", *words).refused(3, "is no admin")
    assert fake.tokens.everything(None) == []
