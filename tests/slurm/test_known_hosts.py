"""known_hosts files are read as OpenSSH reads them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paramiko import HostKeys

from gateway.slurm.known_hosts import HostKey, host_name, keys_of

KEY = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIIbHFR8LLAgPHkP1MfIA3vLWa6yyqbLMPhwhJgYzqjMY")
LINE = f"{KEY.kind} {KEY.text}"


def hashed(name: str) -> str:
    return HostKeys.hash_host(name, base64.b64encode(b"salt" * 5).decode())


def test_a_port_that_is_not_22_stands_in_the_name() -> None:
    assert host_name("a.example.org", 22) == "a.example.org"
    assert host_name("2001:db8::1", 2222) == "[2001:db8::1]:2222"


@pytest.mark.parametrize(
    "names",
    [
        "login1",
        "LOGIN1",
        "gate,login1,10.0.0.1",
        "login*",
        "login?",
        "*,!other",
        hashed("login1"),
    ],
)
def test_a_host_is_known_by_its_name_a_pattern_or_a_hash(names: str) -> None:
    assert keys_of(f"# hosts\n\n {names}\t{LINE} a comment\n", "login1") == [KEY]


@pytest.mark.parametrize(
    "names",
    [
        "login2",
        "login",
        "ogin1",
        "login1.example.org",
        "[login1]:2222",
        "login?,!login1",
        "l.gin1",
        hashed("login2"),
        "|1|x|y",
        "|1|",
        "#login1",
        "@cert-authority login1",
    ],
)
def test_another_host_is_not(names: str) -> None:
    assert keys_of(f"{names} {LINE}\n", "login1") == []


def test_brackets_are_no_pattern() -> None:
    name = host_name("login1", 2222)
    assert keys_of(f"{name} {LINE}\n", name) == [KEY]
    assert keys_of(f"[login1]:* {LINE}\n", name) == [KEY]
    assert keys_of(f"l {LINE}\n", name) == []


def test_all_keys_of_a_host_count_but_for_those_that_are_revoked() -> None:
    other = HostKey("ssh-rsa", "AAAAB3NzaC1yc2E=")
    text = f"a {LINE}\na {other.kind} {other.text}\n"
    assert keys_of(text, "a") == [KEY, other]
    assert keys_of(f"{text}@revoked * {LINE}\n", "a") == [other]
    assert keys_of(f"@revoked b {LINE}\n{text}", "a") == [KEY, other]


def test_a_fingerprint_is_as_ssh_keygen_shows_it() -> None:
    assert KEY.fingerprint == "ssh-ed25519 SHA256:RWNA4mLclekt+L4RKhTexn1vKbt8fEOSbW6VhHj564c"
    assert HostKey("ssh-rsa", "?").fingerprint == "ssh-rsa, but no key"


@given(st.text(), st.text(max_size=20))
def test_no_text_makes_it_raise(text: str, name: str) -> None:
    assert isinstance(keys_of(text, name), list)


@given(st.text(alphabet="|1*?!,[]ab \n@#=", max_size=40))
def test_no_text_of_its_own_signs_makes_it_raise(text: str) -> None:
    assert isinstance(keys_of(text, "ab"), list)
