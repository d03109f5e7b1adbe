"""Names of container images as Docker reads them: `registry/repository:tag@digest`.

Only syntax and normalisation (distribution/reference, `reference.ParseNormalizedNamed`); what a
registry knows of an image is asked elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from gateway.errors import AppCode, GatewayError

MAX_NAME = 1000
MAX_REPOSITORY = 255
DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"

_OTHER = re.compile(r"[^A-Za-z0-9@:_./-]")
_HOST = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
    r"(?::([0-9]{1,5}))?"
)
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_BARE_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ImageName:
    """A normalised name. At least one of `tag` and `digest` is there."""

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def name(self) -> str:
        """Registry and repository, such as `docker.io/library/alpine`."""
        return f"{self.registry}/{self.repository}"

    @property
    def reference(self) -> str:
        """The whole name, such as `docker.io/library/alpine:3.20@sha256:…`."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    def pinned(self, digest: str) -> str:
        """Return `name@digest`, which means the same image for ever."""
        return f"{self.name}@{digest}"

    def __str__(self) -> str:
        return self.reference


def parse_image(text: str) -> ImageName:
    """Read an image name; white space around it is dropped, as the original does.

    Without a tag and without a digest, the tag is `latest`.

    Raises
    ------
    GatewayError
        IMAGE_NAME_PARSE, with the name, the rule it breaks and what would be right.
    """
    name = text.strip()
    if not 1 <= len(name) <= MAX_NAME:
        _refuse(text, f"has {len(name)} characters", f"a name has 1 to {MAX_NAME}")
    other = _OTHER.search(name)
    if other:
        _refuse(
            text,
            f"has the character {other[0]!r}",
            "names are of letters, digits and @ : _ . / - only",
        )
    if "://" in name:
        _refuse(text, "starts with a scheme", "leave out docker:// and the like")
    rest, at, digest = name.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        _refuse(
            text,
            f"has the digest {digest!r}",
            "a digest is sha256: and 64 lower-case hexadecimal digits",
        )
    registry, path = _split_registry(text, rest)
    repository, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        _refuse(
            text,
            f"has the tag {tag!r}",
            "a tag is 1 to 128 letters, digits, _ . - and does not start with . or -",
        )
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        if _BARE_DIGEST.fullmatch(repository):
            _refuse(text, "is a bare digest", "write name@sha256:digest")
        repository = f"library/{repository}"
    _check_repository(text, repository)
    return ImageName(
        registry, repository, tag if colon else (None if at else DEFAULT_TAG), digest or None
    )


def _split_registry(text: str, rest: str) -> tuple[str, str]:
    first, slash, path = rest.partition("/")
    # Docker takes the first component for a host only where it cannot be a repository.
    is_host = slash and (
        "." in first or ":" in first or first == "localhost" or first != first.lower()
    )
    if not is_host:
        return DEFAULT_REGISTRY, rest
    host = _HOST.fullmatch(first)
    if host is None or (host[1] is not None and not 1 <= int(host[1]) <= 65535):
        _refuse(text, f"has the registry {first!r}", "a registry is host or host:port")
    return (DEFAULT_REGISTRY if first == "index.docker.io" else first), path


def _check_repository(text: str, repository: str) -> None:
    if len(repository) > MAX_REPOSITORY:
        _refuse(
            text,
            f"has a repository of {len(repository)} characters",
            f"at most {MAX_REPOSITORY} are allowed",
        )
    for component in repository.split("/"):
        if not component:
            _refuse(text, "has an empty component", "write registry/repository:tag")
        if component != component.lower():
            _refuse(
                text,
                f"has upper-case letters in {component!r}",
                f"repositories are lower-case: {component.lower()!r}",
            )
        if not _COMPONENT.fullmatch(component):
            _refuse(
                text,
                f"has the component {component!r}",
                "components are of lower-case letters and digits, with single . or _, __ or "
                "dashes between them",
            )


def _refuse(text: str, rule: str, remedy: str) -> NoReturn:
    shown = repr(text if len(text) <= 200 else text[:200] + "…")
    raise GatewayError(AppCode.IMAGE_NAME_PARSE, f"The image name {shown} {rule}; {remedy}.")
