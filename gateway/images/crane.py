"""Looking an image up in its registry with crane: digest and configuration.

Each look-up is one process with an argv list; error texts of crane are told apart here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from typing import Any

from gateway.config import ImagesSection
from gateway.errors import AppCode, GatewayError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_OS, _ARCHITECTURE = "linux", "amd64"
# How an installation reaches the world outside; nothing else of the daemon's environment goes to crane.
_KEPT = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class ImageConfig:
    """What the runtime needs to know of an image's configuration (OCI image spec, `config`)."""

    entrypoint: list[str]
    cmd: list[str]
    workdir: str
    env: dict[str, str]


class Crane:
    """The crane program with the gateway's settings."""

    def __init__(self, config: ImagesSection) -> None:
        self._config = config

    def digest(self, reference: str) -> str:
        """Return the `sha256:…` that a reference stands for now.

        Raises
        ------
        GatewayError
            IMAGE_FETCH, saying which: not found, unauthorized, unreachable, crane missing.
        """
        found = self._run(reference, "digest").strip()
        if not _DIGEST.fullmatch(found):
            raise GatewayError(
                AppCode.IMAGE_FETCH,
                f"The registry gave {found[:100]!r} as the digest of {reference}.",
            )
        return found

    def config(self, reference: str) -> ImageConfig:
        """Return the configuration of an image.

        Raises
        ------
        GatewayError
            IMAGE_FETCH, as `digest`; also for one of another platform.
        """
        text = self._run(reference, "config", f"--platform={_OS}/{_ARCHITECTURE}")
        try:
            whole = json.loads(text)
            config = whole.get("config") or {}
            found = ImageConfig(
                _words(config.get("Entrypoint")),
                _words(config.get("Cmd")),
                _word(config.get("WorkingDir")) or "/",
                dict(_variable(word) for word in _words(config.get("Env"))),
            )
            system = (_word(whole.get("os")), _word(whole.get("architecture")))
        except (ValueError, TypeError, AttributeError, RecursionError) as exc:
            raise GatewayError(
                AppCode.IMAGE_FETCH, f"The configuration of {reference} is not an image's JSON."
            ) from exc
        if system[0] not in ("", _OS) or system[1] not in ("", _ARCHITECTURE):
            raise GatewayError(
                AppCode.IMAGE_FETCH,
                f"{reference} is an image for {'/'.join(system)}; the nodes run {_OS}/{_ARCHITECTURE}: "
                "build it for that platform.",
            )
        return found

    def version(self) -> str:
        """Return crane's version.

        Raises
        ------
        GatewayError
            IMAGE_FETCH when crane is not there.
        """
        return self._run("", "version").strip()

    def _run(self, reference: str, command: str, *options: str) -> str:
        argv = [self._config.crane, command, *options]
        if reference:
            if reference.partition("/")[0] in self._config.insecure_registries:
                argv.append("--insecure")
            argv += ["--", reference]
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent"}
        for name in _KEPT:
            for spelled in (name, name.lower()):
                if spelled in os.environ:
                    environment[spelled] = os.environ[spelled]
        if self._config.docker_config_dir is not None:
            environment["DOCKER_CONFIG"] = str(self._config.docker_config_dir)
        try:
            done = subprocess.run(
                argv,
                capture_output=True,
                text=True,
                errors="replace",
                env=environment,
                check=False,
                timeout=self._config.timeout_seconds,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as exc:
            who = f"The registry of {reference}" if reference else "crane"
            raise GatewayError(
                AppCode.IMAGE_FETCH,
                f"{who} gave no answer in {self._config.timeout_seconds} s; try again later.",
            ) from exc
        except OSError as exc:
            raise GatewayError(
                AppCode.IMAGE_FETCH,
                f"crane cannot be run where the gateway looks for it ({argv[0]}: {exc.strerror}); "
                "tell its admins.",
            ) from exc
        if done.returncode != 0:
            raise GatewayError(AppCode.IMAGE_FETCH, _explain(reference, done.stderr))
        return done.stdout


def _words(value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise TypeError("not a list of words")
    return [_word(word) for word in value]


def _word(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError("not a word")
    return value or ""


# What crane's last line says (go-containerregistry, transport.Error: "CODE: message"; net/http): which sentence.
_TROUBLES = (
    (
        r"UNAUTHORIZED|DENIED|status code 40[13]\b",
        "The registry refuses access to {0} (unauthorized): it is private, or not there. The gateway needs "
        "credentials for it; ask its admins.",
    ),
    (
        r"TOOMANYREQUESTS|status code 429\b",
        "The registry of {0} answers that it was asked too often; try again later.",
    ),
    (
        r"/v2/: unexpected status code 404|malformed HTTP",
        "What answers at the registry of {0} is no image registry; check host and port.",
    ),
    (
        r"MANIFEST_UNKNOWN|NAME_UNKNOWN|NOT_FOUND|BLOB_UNKNOWN|status code 404\b",
        "There is no image {0} in its registry (manifest unknown); check name, tag and digest.",
    ),
    (
        r"no child with platform",
        f"{{0}} has no image for {_OS}/{_ARCHITECTURE}, which the nodes run; build it for that platform.",
    ),
    (
        r"x509:|tls: |HTTP response to HTTPS client",
        "The registry of {0} has no certificate that the gateway trusts; its admins may add the certificate, or name "
        "the registry in images.insecure_registries: {1}",
    ),
    (
        r"no such host|server misbehaving",
        "There is no host of that name for the registry of {0}; check the name: {1}",
    ),
    (
        r"dial tcp|connection refused|connection reset|timeout|deadline exceeded|EOF|no route to host|"
        r"unreachable|status code 5[0-9][0-9]\b",
        "The registry of {0} cannot be reached; try again later: {1}",
    ),
)


def _explain(reference: str, said: str) -> str:
    lines = said.strip().splitlines() or ["no message"]
    # Names and hosts stand in the text too: only what is said after them is looked at.
    last = lines[-1].removeprefix("Error: ")[-1000:]
    words = last.replace(reference, "…")
    for pattern, sentence in _TROUBLES:
        if re.search(pattern, words):
            return sentence.format(reference, last[-300:])
    return f"crane could not look up {reference}: {last[-300:]}"


def _variable(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value
