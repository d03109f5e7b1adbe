"""Looking an image up in its registry with crane: digest and configuration.

Each look-up is one process with an argv list; error texts of crane are told apart here.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass

from gateway.config import ImagesSection
from gateway.errors import AppCode, GatewayError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class ImageConfig:
    """What the runtime needs to know of an image's configuration (OCI image spec, `config`)."""

    entrypoint: list[str]
    cmd: list[str]
    workdir: str


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
            IMAGE_FETCH, as `digest`.
        """
        try:
            config = (
                json.loads(self._run(reference, "config", "--platform=linux/amd64")).get("config")
                or {}
            )
        except (ValueError, AttributeError) as exc:
            raise GatewayError(
                AppCode.IMAGE_FETCH, f"The configuration of {reference} is not an image's JSON."
            ) from exc
        return ImageConfig(
            [str(word) for word in config.get("Entrypoint") or []],
            [str(word) for word in config.get("Cmd") or []],
            str(config.get("WorkingDir") or "/"),
        )

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
        except FileNotFoundError as exc:
            raise GatewayError(
                AppCode.IMAGE_FETCH,
                f"crane is not installed where the gateway looks for it ({argv[0]}); tell its admins.",
            ) from exc
        except subprocess.TimeoutExpired as exc:
            raise GatewayError(
                AppCode.IMAGE_FETCH,
                f"The registry of {reference} gave no answer in {self._config.timeout_seconds} s.",
            ) from exc
        if done.returncode != 0:
            raise GatewayError(AppCode.IMAGE_FETCH, _explain(reference, done.stderr))
        return done.stdout


def _explain(reference: str, said: str) -> str:
    last = (said.strip().splitlines() or ["no message"])[-1][-300:]
    if re.search(r"UNAUTHORIZED|DENIED|401|403", said):
        return f"The registry refuses access to {reference} (unauthorized); the gateway needs credentials for it."
    if re.search(r"MANIFEST_UNKNOWN|NAME_UNKNOWN|NOT_FOUND|404", said):
        return f"There is no image {reference} in its registry (manifest unknown); check name, tag and digest."
    if re.search(r"dial tcp|connection refused|no such host|i/o timeout|TLS handshake|EOF", said):
        return f"The registry of {reference} cannot be reached: {last}"
    return f"crane could not look up {reference}: {last}"
