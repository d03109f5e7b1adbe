"""Looking an image up in its registry with crane: digest, platforms and configuration.

Each look-up is one process with an argv list; error texts of crane are told apart here.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from typing import Any, NoReturn

from gateway.config import ImagesSection
from gateway.errors import AppCode, GatewayError
from gateway.images.logins import Logins, environment
from gateway.images.platforms import platform_name

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DEFAULT = "linux/amd64"  # of a configuration that does not say (OCI wants it said)
_INDEX = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_CONFIG = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)


@dataclass(frozen=True)
class ImageConfig:
    """What the runtime needs to know of an image's configuration (OCI image spec, `config`)."""

    entrypoint: list[str]
    cmd: list[str]
    workdir: str
    env: dict[str, str]
    platform: str = _DEFAULT


class Crane:
    """The crane program with the gateway's settings."""

    def __init__(self, config: ImagesSection) -> None:
        self._config = config
        self._logins = Logins(config)

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

    def platforms(self, reference: str) -> dict[str, str] | None:
        """Return the platforms of an index (OCI image index, Docker's manifest list), each with its manifest's digest.

        Returns
        -------
        dict or None
            None for an image of one platform; which one, its configuration says.

        Raises
        ------
        GatewayError
            IMAGE_FETCH, as `digest`; also for what is no container image.
        """
        try:
            whole = json.loads(self._run(reference, "manifest"))
            kind = _word(whole.get("mediaType"))
            if kind not in _INDEX and "manifests" not in whole:
                _check_manifest(reference, whole, kind)
                return None
            found: dict[str, str] = {}
            for child in whole["manifests"]:
                name = _platform(child.get("platform") or {})
                # What is built beside an image, a signature or a provenance, is of the platform "unknown".
                if name and "unknown" not in name and _DIGEST.fullmatch(_word(child["digest"])):
                    found.setdefault(name, child["digest"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
            raise GatewayError(
                AppCode.IMAGE_FETCH, f"The manifest of {reference} is not an image's JSON."
            ) from exc
        if not found:
            raise GatewayError(
                AppCode.IMAGE_FETCH,
                f"{reference} is an index that names no platform; give the digest of one of its images.",
            )
        return found

    def config(self, reference: str) -> ImageConfig:
        """Return the configuration of an image of one platform.

        Raises
        ------
        GatewayError
            IMAGE_FETCH, as `digest`.
        """
        text = self._run(reference, "config")
        try:
            whole = json.loads(text)
            config = whole.get("config") or {}
            found = ImageConfig(
                _words(config.get("Entrypoint")),
                _words(config.get("Cmd")),
                _word(config.get("WorkingDir")) or "/",
                dict(_variable(word) for word in _words(config.get("Env"))),
                _platform(whole) or _DEFAULT,
            )
        except (ValueError, TypeError, AttributeError, RecursionError) as exc:
            raise GatewayError(
                AppCode.IMAGE_FETCH, f"The configuration of {reference} is not an image's JSON."
            ) from exc
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
        try:
            done = subprocess.run(
                argv,
                capture_output=True,
                text=True,
                errors="replace",
                env=environment(self._config),
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
            remedy = "install crane there, or name its place in images.crane"
            if isinstance(exc, PermissionError):
                remedy = "let the daemon's user execute it"
            raise GatewayError(
                AppCode.IMAGE_FETCH,
                f"crane cannot be run where the gateway looks for it ({argv[0]}: {exc.strerror}); "
                f"its admins can help: {remedy}.",
            ) from exc
        if done.returncode != 0:
            self._explain(reference, done.stderr)
        return done.stdout

    def _explain(self, reference: str, said: str) -> NoReturn:
        lines = said.strip().splitlines() or ["no message"]
        # Names and hosts stand in the text too: only what is said after them is looked at.
        last = lines[-1].removeprefix("Error: ")[-1000:]
        words = last.replace(reference, "…")
        message = f"crane could not look up {reference}: {last[-300:]}"
        if re.search(_REFUSED, words):
            name = re.sub(r"(:[^:/@]*)?(@.*)?$", "", reference)
            message = (_WRONG_LOGIN if self._logins.known(name) else _NO_LOGIN).format(reference)
        else:
            for pattern, sentence in _TROUBLES:
                if re.search(pattern, words):
                    message = sentence.format(reference, last[-300:])
                    break
        raise GatewayError(AppCode.IMAGE_FETCH, message)


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


_REFUSED = r"UNAUTHORIZED|DENIED|status code 40[13]\b"
_NO_LOGIN = (
    "The registry refuses access to {0} (unauthorized), and the gateway has no login for it: it is private, or not there. "
    "An admin can give the gateway one, with docker login in images.docker_config_dir."
)
_WRONG_LOGIN = (
    "The registry refuses access to {0} (unauthorized) with the login that the gateway has for it: that is wrong, may not "
    "read it, or it is not there. An admin can renew it, with docker login in images.docker_config_dir."
)
# What crane's last line says (go-containerregistry, transport.Error: "CODE: message"; net/http): which sentence.
_TROUBLES = (
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
        r"(?i)unsupported media ?type|MANIFEST_INVALID|schema1",
        "{0} is stored in a form that crane cannot read (unsupported media type); push it again with a present docker or "
        "podman: {1}",
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


def _platform(said: Any) -> str:
    return platform_name(*(_word(said.get(name)) for name in ("os", "architecture", "variant")))


def _check_manifest(reference: str, whole: Any, kind: str) -> None:
    """See that a manifest is that of a container image, of Docker's schema 2 or OCI's."""
    if whole.get("schemaVersion") == 1:
        raise GatewayError(
            AppCode.IMAGE_FETCH,
            f"{reference} has a manifest of Docker's schema 1, an unsupported media type; push it again with a present "
            "docker or podman.",
        )
    found = _word((whole.get("config") or {}).get("mediaType"))
    if found not in _CONFIG:
        raise GatewayError(
            AppCode.IMAGE_FETCH,
            f"{reference} is no container image: its registry has it as {(found or kind or 'something else')[:100]!r} "
            "(unsupported media type); check the name.",
        )


def _variable(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value
