"""Logins to registries, as docker has them: `config.json` of `images.docker_config_dir`, and the helpers that it names.

Read anew each time: a login that was changed works without a restart. Nothing of it is kept or logged.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.config import ImagesSection

# How an installation reaches the world outside; nothing else of the daemon's environment goes to crane and helpers.
_KEPT = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_HUB = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
_SECONDS = 20
_TOKEN = "<token>"  # noqa: S105 - docker-credential-helpers: then the secret is an identity token


@dataclass(frozen=True)
class Login:
    """A user and a password of a registry."""

    username: str
    password: str = field(repr=False)


class LoginError(Exception):
    """There is a login, and it cannot be had or used; the text holds nothing of it."""


def environment(config: ImagesSection) -> dict[str, str]:
    """Return the environment of crane and of docker's credential helpers."""
    found = {"PATH": SEARCH_PATH, "HOME": "/nonexistent"}
    for name in _KEPT:
        for spelled in (name, name.lower()):
            if spelled in os.environ:
                found[spelled] = os.environ[spelled]
    if config.docker_config_dir is not None:
        found["DOCKER_CONFIG"] = str(config.docker_config_dir)
    return found


class Logins:
    """The logins that the gateway has. `search_path` is where helpers are looked for."""

    def __init__(self, config: ImagesSection, search_path: str = SEARCH_PATH) -> None:
        self._config = config
        self._search_path = search_path

    def known(self, name: str) -> bool:
        """Tell whether there seems to be a login for an image (registry/repository); no helper is asked."""
        try:
            document = self._read()
            named = {**_object(document, "auths"), **_object(document, "credHelpers")}
            return any(key in named for key in _keys(name))
        except LoginError:
            return False

    def get(self, name: str) -> Login | None:
        """Return the login for an image (registry/repository); None where there is none.

        Raises
        ------
        LoginError
            When the file or the helper cannot be read, or the login is a token that nodes cannot use.
        """
        document = self._read()
        helper = self._helper(document, name)
        login = None if helper is None else self._ask(helper, _server(name))
        return login or _login(_entry(document, name), name)

    def check(self) -> str:
        """Return a sentence about the logins, for `ctsd check`.

        Raises
        ------
        LoginError
            Naming the first that is of no use to nodes.
        """
        document = self._read()
        auths = _object(document, "auths")
        for server, entry in auths.items():
            _login(entry, server)
        helpers = _object(document, "credHelpers")
        store = document.get("credsStore")
        for name in [*helpers.values(), *([store] if store else [])]:
            _program(name)
        asked = ", and whatever credsStore has" if store else ""
        return f"logins to {len({**auths, **helpers})} registries{asked}"

    def _read(self) -> Mapping[str, Any]:
        if self._config.docker_config_dir is None:
            return {}
        path = Path(self._config.docker_config_dir) / "config.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as exc:
            raise LoginError(f"{path} cannot be read: {exc.strerror}") from exc
        except (ValueError, RecursionError) as exc:
            raise LoginError(f"{path} is no JSON; write it with: docker login") from exc
        if not isinstance(found, dict):
            raise LoginError(f"{path} holds no object; write it with: docker login")
        return found

    @staticmethod
    def _helper(document: Mapping[str, Any], name: str) -> str | None:
        helpers = _object(document, "credHelpers")
        for key in _keys(name):
            if key in helpers:
                return str(helpers[key])
        store = document.get("credsStore")
        return str(store) if store else None

    def _ask(self, helper: str, server: str) -> Login | None:
        """Speak docker-credential-helpers' protocol: `get`, the server on standard input, JSON on standard output."""
        program = _program(helper)
        try:
            done = subprocess.run(
                [program, "get"],
                input=server,
                text=True,
                errors="replace",
                capture_output=True,
                env={**environment(self._config), "PATH": self._search_path},
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            why = exc.strerror if isinstance(exc, OSError) else f"no answer in {_SECONDS} s"
            raise LoginError(f"{program} cannot be asked for the login of {server}: {why}") from exc
        if done.returncode != 0:
            # It is the protocol that this text means none (credentials.NewErrCredentialsNotFound).
            if "credentials not found" in done.stdout:
                return None
            raise LoginError(
                f"{program} gave no login of {server}: it ended with {done.returncode}"
            )
        try:
            answer = json.loads(done.stdout)
            user, secret = str(answer["Username"]), str(answer["Secret"])
        except (ValueError, TypeError, KeyError, RecursionError) as exc:
            raise LoginError(f"{program} gave no login of {server}: its answer is no JSON") from exc
        if user == _TOKEN:
            raise LoginError(_no_token(server))
        return Login(user, secret)


def _program(helper: object) -> str:
    if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
        raise LoginError(f"{str(helper)[:60]!r} is no name of a credential helper")
    return f"docker-credential-{helper}"


def _keys(name: str) -> list[str]:
    """Return under what docker and crane look for an image's login: its repository, then its registry, also as a URL."""
    host = name.partition("/")[0]
    hosts = [host, *(_HUB if host == "docker.io" else ())]
    return [name, *hosts, *(f"https://{each}" for each in (host, f"{host}/v1/", f"{host}/v2/"))]


def _server(name: str) -> str:
    host = name.partition("/")[0]
    return _HUB[0] if host == "docker.io" else host


def _object(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _entry(document: Mapping[str, Any], name: str) -> object:
    auths = _object(document, "auths")
    return next((auths[key] for key in _keys(name) if key in auths), None)


def _login(entry: object, server: str) -> Login | None:
    """Read an entry of `auths`; an empty one is what `docker login` leaves beside a helper."""
    if not isinstance(entry, dict) or not entry:
        return None
    if entry.get("identitytoken") or entry.get("registrytoken"):
        raise LoginError(_no_token(server))
    user, password = entry.get("username"), entry.get("password")
    if entry.get("auth"):
        try:
            text = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, ValueError) as exc:
            raise LoginError(f"the login of {server} is no base64; run docker login again") from exc
        user, _, password = text.rstrip("\0").partition(":")
    if not isinstance(user, str) or not isinstance(password, str) or not user:
        return None
    return Login(user, password)


def _no_token(server: str) -> str:
    return (
        f"the login of {server} is a token, with which compute nodes cannot fetch images; "
        "use a user name and a password (or an access token in the password's place)"
    )
