"""Logins are read as docker keeps them, each for the registry that it is for, and told to nobody else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.config import ImagesSection
from gateway.images.logins import Login, LoginError, Logins

Make = Callable[[Any], Logins]


def word(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write config.json."""

    def making(document: Any) -> Logins:
        text = document if isinstance(document, str) else json.dumps(document)
        (tmp_path / "config.json").write_text(text)
        where = f"{tmp_path}:/usr/bin:/bin"
        return Logins(ImagesSection(docker_config_dir=tmp_path), where)

    return making


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("reg.example.org:5000", "reg.example.org:5000/bio/tool"),
        ("https://reg.example.org/v1/", "reg.example.org/bio/tool"),
        ("https://reg.example.org", "reg.example.org/bio/tool"),
        ("https://index.docker.io/v1/", "docker.io/library/alpine"),
        ("reg.example.org/bio/tool", "reg.example.org/bio/tool"),
    ],
)
def test_a_login_is_found_however_docker_wrote_its_registry(
    make: Make, key: str, name: str
) -> None:
    known = make({"auths": {key: word("lab", "p:w")}})
    assert known.get(name) == Login("lab", "p:w")
    assert known.known(name)
    for other in ("reg.example.org:5001/bio/tool", "docker.io/library/x2/..", "example.org/a"):
        if not key.startswith("https://index"):
            assert known.get(other) is None
            assert not known.known(other)


def test_a_repositorys_own_login_goes_before_its_registrys(make: Make) -> None:
    known = make({"auths": {"reg": word("all", "1"), "reg/bio/tool": word("tool", "2")}})
    assert known.get("reg/bio/tool") == Login("tool", "2")
    assert known.get("reg/bio/other") == Login("all", "1")


def test_user_and_password_may_stand_there_as_they_are(make: Make) -> None:
    assert make({"auths": {"reg": {"username": "a", "password": "b"}}}).get("reg/x") == Login("a", "b")  # fmt: skip


def test_a_login_is_not_shown(make: Make) -> None:
    login = make({"auths": {"reg": word("lab", "s3cr3t")}}).get("reg/x")
    assert "s3cr3t" not in repr(login)


@pytest.mark.parametrize("document", [{}, {"auths": {}}, {"auths": {"reg": {}}}, {"auths": 7}])
def test_without_a_login_there_is_none(make: Make, document: Any) -> None:
    assert make(document).get("reg/x") is None


def test_without_a_directory_or_a_file_there_is_none(tmp_path: Path) -> None:
    assert Logins(ImagesSection()).get("reg/x") is None
    assert Logins(ImagesSection(docker_config_dir=tmp_path)).get("reg/x") is None


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "is no JSON"),
        ("[]", "holds no object"),
        ({"auths": {"reg": {"auth": "%%"}}}, "the login of reg"),
        ({"auths": {"reg": {"identitytoken": "eyJh"}}}, "is a token, with which compute nodes cannot"),
        ({"credHelpers": {"reg": "../../bin/sh"}}, "is no name of a credential helper"),
    ],
)  # fmt: skip
def test_a_login_that_is_of_no_use_is_told_without_it(make: Make, document: Any, says: str) -> None:
    known = make(document)
    for act in (lambda: known.get("reg/x"), known.check):
        with pytest.raises(LoginError, match=says) as caught:
            act()
        assert "eyJh" not in str(caught.value)


class TestHelpers:
    @pytest.fixture
    def helper(self, tmp_path: Path) -> Callable[[str], None]:
        """Install docker-credential-lab, a shell script."""

        def install(body: str) -> None:
            program = tmp_path / "docker-credential-lab"
            program.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/asked; cat >> {tmp_path}/asked\n{body}\n")  # fmt: skip
            program.chmod(0o755)

        return install

    def test_a_helper_is_asked_for_its_registry_on_standard_input(
        self, make: Make, helper: Callable[[str], None], tmp_path: Path
    ) -> None:
        helper("""echo '{"ServerURL": "reg", "Username": "u", "Secret": "s"}'""")
        known = make({"credHelpers": {"reg": "lab"}, "auths": {"reg": word("old", "x")}})
        assert known.get("reg/bio/tool") == Login("u", "s")
        assert (tmp_path / "asked").read_text() == "get\nreg"
        assert known.check().startswith("logins to 1 registries")

    def test_a_store_that_has_none_leaves_it_to_the_file(
        self, make: Make, helper: Callable[[str], None]
    ) -> None:
        helper("echo credentials not found in native keychain; exit 1")
        known = make({"credsStore": "lab", "auths": {"reg": word("u", "p")}})
        assert known.get("reg/x") == Login("u", "p")
        assert known.get("other/x") is None

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ("echo secret-word; exit 1", "it ended with 1"),
            ("echo secret-word", "its answer is no JSON"),
            ("""echo '{"Username": "<token>", "Secret": "secret-word"}'""", "is a token"),
        ],
    )
    def test_a_helper_that_fails_is_told_and_nothing_of_what_it_said(
        self, make: Make, helper: Callable[[str], None], body: str, says: str
    ) -> None:
        helper(body)
        with pytest.raises(LoginError, match=says) as caught:
            make({"credsStore": "lab"}).get("reg/x")
        assert "secret-word" not in str(caught.value)

    def test_a_helper_that_is_not_there_is_named(self, make: Make) -> None:
        with pytest.raises(LoginError, match="docker-credential-none cannot be asked"):
            make({"credHelpers": {"reg": "none"}}).get("reg/x")
