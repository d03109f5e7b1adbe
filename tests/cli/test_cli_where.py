"""Which gateway: the socket, or a URL with a token from a file that nobody else may read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.api.gateway_fake import ME, FakeGateway
from tests.cli.run import PROGRAMS, Done, run


@pytest.fixture
def token_file(fake: FakeGateway, tmp_path: Path) -> Path:
    """A file with a token of whoever runs the tests."""
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(f"{fake.token()}\n")
    return path


def whoami(fake: FakeGateway, *args: str, env: Mapping[str, str | None] | None = None) -> Done:
    """Run `cts whoami` with no home of the user's."""
    return run(fake, "cts", "whoami", *args, env={"HOME": "/nonexistent", **(env or {})})


def test_a_url_with_a_token_file_and_a_ca_is_the_gateway(
    fake: FakeGateway, token_file: Path
) -> None:
    options = (
        "--url",
        fake.url,
        "--token-file",
        str(token_file),
        "--ca-file",
        str(fake.authority.ca),
    )
    done = whoami(fake, *options)
    assert (done.code, done.out) == (0, f"{ME} (user)\n"), done
    assert fake.log.events("api.request")[0]["address"] == "127.0.0.1"
    variables = {
        "CTS_URL": fake.url,
        "CTS_TOKEN_FILE": str(token_file),
        "CTS_CA_FILE": str(fake.authority.ca),
    }
    assert whoami(fake, env=variables).out == f"{ME} (user)\n"


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_takes_them(fake: FakeGateway, program: str) -> None:
    words = ("cts", "jobs") if program == "cts" else (program,)
    help_text = run(fake, *words, "--help").out
    for option in (
        "--url",
        "--token-file",
        "--ca-file",
        "CTS_URL",
        "CTS_TOKEN_FILE",
        "CTS_CA_FILE",
    ):
        assert option in help_text


def test_the_token_is_looked_for_in_the_users_configuration(
    fake: FakeGateway, token_file: Path, tmp_path: Path
) -> None:
    usual = tmp_path / ".config" / "cts" / "token"
    usual.parent.mkdir(parents=True)
    token_file.rename(usual)
    options = ("--url", fake.url, "--ca-file", str(fake.authority.ca))
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": None}
    assert whoami(fake, *options, env=home).code == 0
    other = {"HOME": "/nonexistent", "XDG_CONFIG_HOME": str(tmp_path / ".config")}
    assert whoami(fake, *options, env=other).code == 0


def test_without_any_token_the_gateway_says_how_to_make_one(fake: FakeGateway) -> None:
    done = whoami(fake, "--url", fake.url, "--ca-file", str(fake.authority.ca))
    done.refused(3, "cts token create", "(appcode 10010)")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_token_file_that_others_can_use_is_refused_with_the_remedy(
    fake: FakeGateway, token_file: Path, mode: int
) -> None:
    token_file.chmod(mode)
    done = whoami(fake, "--url", fake.url, "--token-file", str(token_file))
    done.refused(2, f"(mode {mode:04o})", f"chmod 600 {token_file}")


@pytest.mark.parametrize("content", ["", "\n", "two words", "x" * 5000, "a\x00b", "line\nline\n"])
def test_a_file_that_holds_no_token_is_told_so_and_not_shown(
    fake: FakeGateway, token_file: Path, content: str
) -> None:
    token_file.write_text(content)
    done = whoami(fake, "--url", fake.url, "--token-file", str(token_file))
    done.refused(2, f"the token file {token_file} holds no token")


def test_a_token_file_that_is_not_there_is_named(fake: FakeGateway, tmp_path: Path) -> None:
    done = whoami(fake, "--url", fake.url, "--token-file", str(tmp_path / "none"))
    done.refused(2, "cannot read the token file", "none: No such file")


def test_a_token_can_come_through_a_pipe_which_nobody_else_reads(fake: FakeGateway) -> None:
    import os

    reader, writer = os.pipe()
    os.write(writer, f"{fake.token()}\n".encode())
    os.close(writer)
    try:
        options = ("--token-file", f"/dev/fd/{reader}", "--ca-file", str(fake.authority.ca))
        assert whoami(fake, "--url", fake.url, *options).code == 0
    finally:
        os.close(reader)


def test_what_is_typed_wins_over_the_environment_and_both_are_too_many(
    fake: FakeGateway, token_file: Path
) -> None:
    nowhere = {"CTS_URL": "https://127.0.0.1:1"}
    assert whoami(fake, "--socket", str(fake.socket), env=nowhere).code == 0
    done = whoami(fake, "--socket", str(fake.socket), "--url", fake.url)
    done.refused(2, "--socket and --url are two gateways")
    assert whoami(fake, env=nowhere).code == 4


def test_plain_http_is_refused_before_a_token_goes_anywhere(
    fake: FakeGateway, token_file: Path
) -> None:
    done = whoami(fake, "--url", f"http://127.0.0.1:{fake.port}", "--token-file", str(token_file))
    done.refused(2, "is no https:// URL")


def test_a_certificate_that_is_not_trusted_is_told_with_the_remedy(
    fake: FakeGateway, token_file: Path
) -> None:
    done = whoami(fake, "--url", fake.url, "--token-file", str(token_file))
    done.refused(4, "cannot be trusted", "--ca-file")
    done = whoami(fake, "--url", fake.url, "--ca-file", str(token_file))
    done.refused(2, "CA file", "no certificate in PEM")
    done = whoami(fake, "--url", fake.url, "--ca-file", "/nonexistent")
    done.refused(2, "CA file /nonexistent cannot be used: No such file")


def test_a_gateway_that_does_not_answer_at_its_url_is_told_by_its_url(fake: FakeGateway) -> None:
    done = whoami(fake, "--url", "https://127.0.0.1:1")
    done.refused(4, "https://127.0.0.1:1", "is the URL right")
