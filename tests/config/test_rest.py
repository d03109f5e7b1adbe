"""The settings of a site whose Slurm is reached through slurmrestd."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gateway.config import Config, parse_config, warnings_of
from gateway.errors import ConfigError

_REST = """\
[s3]
credentials_file = "/etc/cts/s3-credentials"

[sites.dev]
work_dir = "/scratch/cts"
backend = "rest"
slurm_user = "ctsjob"
"""


def config(*lines: str) -> Config:
    text = "\n".join([_REST, *(["[sites.dev.rest]"] if lines else []), *lines])
    return parse_config(tomllib.loads(text), "gateway.toml")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], r"sites.dev: .*needs \[sites.NAME.rest\] and slurm_user"),
        (['url = "slurm.example.org"'], "sites.dev.rest.url: must be unix: and an absolute path.*"),
        (['url = "http://slurm:6820"'], "sites.dev.rest: url over TCP needs token_file or .*"),
        (
            ['url = "unix:/s"', 'token_file = "/t"', 'token_command = ["scontrol", "token"]'],
            "sites.dev.rest: token_file and token_command: one of them is enough",
        ),
    ],
)
def test_what_is_missing_or_too_much_is_told(lines: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^gateway.toml: {said}$"):
        config(*lines)


def test_a_token_that_others_can_read_or_overhear_is_warned_of(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(0o644)
    path, file = tmp_path / "gateway.toml", f'token_file = "{token}"'
    clear, readable = warnings_of(path, config(file, 'url = "http://slurm:6820"'))
    assert "sites.dev.rest.url http://slurm:6820: tokens go there in clear" in clear
    assert f"sites.dev.rest.token_file {token} can be read by others" in readable
    token.chmod(0o600)
    for url in ("http://127.0.0.1:6820", "http://[::1]:6820", "https://slurm:6820", "unix:/s"):
        assert warnings_of(path, config(file, f'url = "{url}"')) == []
