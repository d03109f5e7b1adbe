"""The command line."""

from __future__ import annotations

import signal

import pytest
from devclusterlib.options import parser


@pytest.mark.parametrize(
    ("text", "meant"),
    [("KILL", signal.SIGKILL), ("sigterm", signal.SIGTERM), ("stop", signal.SIGSTOP), ("9", 9)],
)
def test_a_signal_is_a_name_with_or_without_sig_or_a_number(text: str, meant: int) -> None:
    assert parser().parse_args(["kill", "rgw", "--signal", text]).signal == meant


def test_an_unknown_signal_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["kill", "rgw", "--signal", "FOO"])
    assert "there is no signal 'FOO'" in capsys.readouterr().err


def test_what_follows_exec_is_the_commands_own() -> None:
    options = parser().parse_args(["exec", "--user", "bob", "--", "ls", "--help", "--user", "x"])
    assert options.user == "bob"
    assert options.argv[-4:] == ["ls", "--help", "--user", "x"]
