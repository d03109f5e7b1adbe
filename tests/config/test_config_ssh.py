"""[sites.NAME.ssh]: how a site on another machine is reached."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gateway.config import jump_address, parse_config, warnings_of
from gateway.errors import ConfigError

HEAD = """
[s3]
credentials_file = "/etc/cts/s3"
[sites.far]
work_dir = "/scratch/cts"
backend = "ssh"
"""
SSH = """
[sites.far.ssh]
host = "login.example.org"
user = "ctsjob"
"""
KEY = 'key_file = "/etc/cts/key"\n'


def mistake(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(tomllib.loads(text), "gateway.toml")
    return str(caught.value)


def test_a_host_a_user_and_a_key_are_enough() -> None:
    section = parse_config(tomllib.loads(HEAD + SSH + KEY)).sites["far"].ssh
    assert section is not None
    assert (section.host, section.port, section.user) == ("login.example.org", 22, "ctsjob")
    assert section.check_host_key
    assert section.known_hosts == Path("/etc/ssh/ssh_known_hosts")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD, 'sites.far: backend = "ssh" needs [sites.NAME.ssh], which says where to'),
        (HEAD + SSH, "sites.far.ssh: needs a key_file, or agent = true: there are no passwords"),
        (
            HEAD + SSH + 'agent = true\ncertificate_file = "/c"\n',
            "sites.far.ssh: certificate_file needs the key_file that it is for",
        ),
        (
            HEAD + 'helper = ["sudo"]\n' + SSH + KEY,
            "sites.far: helper is not for a site that is reached by ssh",
        ),
        (HEAD + SSH + KEY + "prot = 22\n", "sites.far.ssh.prot: unknown key; did you mean 'port'?"),
        (HEAD + SSH + KEY + "port = 0\n", "sites.far.ssh.port: "),
        (HEAD + SSH + KEY + 'jump = "-oProxyCommand=x"\n', "sites.far.ssh.jump: must be [user@]"),
        (HEAD + SSH.replace("login", "-oX ") + KEY, "sites.far.ssh.host: "),
        (HEAD + SSH.replace("ctsjob", "a b") + KEY, "sites.far.ssh.user: "),
    ],
)
def test_a_mistake_is_named_with_its_key(text: str, said: str) -> None:
    assert mistake(text).startswith(f"gateway.toml: {said}")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("gate", (None, "gate", 22)),
        ("a.b@gate.example.org:2222", ("a.b", "gate.example.org", 2222)),
        ("x@[2001:db8::1]:99", ("x", "2001:db8::1", 99)),
        ("[::1]", (None, "::1", 22)),
    ],
)
def test_a_jump_host_is_written_as_ssh_writes_it(
    text: str, address: tuple[str | None, str, int]
) -> None:
    assert jump_address(text) == address


@pytest.mark.parametrize("text", ["", "a@", "@a", "a:0", "a:65536", "a b", "a,b", "::1", "a@b@c"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        jump_address(text)


def test_what_should_not_stay_so_is_told(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(0o644)
    loose = SSH + f'key_file = "{key}"\ncheck_host_key = false\n'
    said = warnings_of(tmp_path, parse_config(tomllib.loads(HEAD + loose)))
    assert any("sites.far.ssh.check_host_key" in line and "in between" in line for line in said)
    assert any("sites.far.ssh.key_file" in line and "chmod 600" in line for line in said)
    unused = HEAD.replace('"ssh"', '"cli"') + loose
    (only,) = warnings_of(tmp_path, parse_config(tomllib.loads(unused)))
    assert "sites.far.ssh" in only
    assert "is not used: backend is cli" in only
