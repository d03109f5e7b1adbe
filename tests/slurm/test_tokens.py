"""Tokens for slurmrestd: where they come from, when they are made anew, and what is said when there is none."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.errors import SiteError
from gateway.slurm.hands import CommandResult, LocalHands
from gateway.slurm.tokens import TokenCommand, TokenFile, ends

NOW = 1_800_000_000.0
COMMAND = ["scontrol", "token"]


def made(**claims: object) -> str:
    """A token with those claims; its signature is nobody's."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.c2lnbmF0dXJl"


class Hands(LocalHands):
    """Gives its results one after the other."""

    def __init__(self, *results: CommandResult) -> None:
        self._lock = None
        self.results = list(results)
        self.asked: list[list[str]] = []

    def run(self, argv: Sequence[str], timeout: float, *, guarded: bool = False) -> CommandResult:
        self.asked.append(list(argv))
        return self.results.pop(0)


def gives(*texts: str) -> Hands:
    return Hands(*(CommandResult(0, text, "") for text in texts))


def test_a_file_is_read_anew_each_time_with_or_without_slurms_prefix(tmp_path: Path) -> None:
    first, second = made(exp=NOW + 60, sun="ctsjob"), made(exp=NOW + 120)
    path = tmp_path / "token"
    path.write_text(f"SLURM_JWT={first}\n")
    token = TokenFile(path, lambda: NOW)
    assert token.get() == first
    path.write_text(second)
    assert token.get() == second


def test_a_token_that_has_ended_is_not_used_and_its_end_is_told(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(made(exp=NOW))
    with pytest.raises(SiteError, match=r"ended at 2027-01-15 08:00:00 UTC; put a new one there"):
        TokenFile(path, lambda: NOW).get()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="gone: No such file"):
        TokenFile(tmp_path / "gone").get()


def test_what_is_no_token_is_refused_and_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("my secret password\n")
    with pytest.raises(SiteError, match="is no token for slurmrestd") as caught:
        TokenFile(path).get()
    assert "secret" not in str(caught.value)


def test_a_command_is_run_once_until_a_minute_before_the_tokens_end() -> None:
    first, second = made(exp=NOW + 600), made(exp=NOW + 1200)
    hands = gives(f"SLURM_JWT={first}\n", f"SLURM_JWT={second}\n")
    now = [NOW]
    token = TokenCommand(hands, COMMAND, 60, lambda: now[0])
    assert token.get() == token.get() == first
    now[0] += 539
    assert token.get() == first
    now[0] += 1
    assert token.get() == second
    assert hands.asked == [COMMAND, COMMAND]


def test_a_token_that_slurm_did_not_accept_is_made_anew() -> None:
    first, second = made(exp=NOW + 600, n=1), made(exp=NOW + 600, n=2)
    token = TokenCommand(gives(first, second), COMMAND, 60, lambda: NOW)
    assert token.get() == first
    token.refused()
    assert token.get() == second


def test_a_token_without_an_end_is_kept_for_half_an_hour() -> None:
    now = [NOW]
    hands = gives(made(sun="ctsjob"), made(sun="root"))
    token = TokenCommand(hands, COMMAND, 60, lambda: now[0])
    token.get()
    now[0] += 1739
    token.get()
    assert len(hands.asked) == 1
    now[0] += 2
    token.get()
    assert len(hands.asked) == 2


def test_a_command_that_fails_is_told_in_its_own_words() -> None:
    hands = Hands(CommandResult(1, "", "scontrol: error: no auth/jwt here\n"))
    with pytest.raises(SiteError, match=r"^scontrol token makes no token .*: scontrol: error: no"):
        TokenCommand(hands, COMMAND, 60).get()


@pytest.mark.parametrize("token", ["a.b.c", "a.bm8.c", made(exp="soon"), made(exp=None)])
def test_a_token_that_does_not_tell_its_end_has_none(token: str) -> None:
    assert ends(token) is None
