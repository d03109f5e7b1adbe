"""Paths of the API from what callers name: what could become another path is never sent."""

from __future__ import annotations

import re
from urllib.parse import quote

from gateway.connection import CtsError
from gateway.errors import AppCode, GatewayError
from gateway.ids import parse_job_id


def job(text: str) -> str:
    """Return the path of a job; what is no id is not sent, for it might be another path."""
    try:
        return f"/jobs/{parse_job_id(text)}"
    except GatewayError as exc:
        raise CtsError(exc.code.http_status, exc.message, exc.code.code) from exc


def segment(text: str) -> str:
    """Return one segment of a path; what could become another path is not sent."""
    if text in ("", ".", "..") or "/" in text:
        code = AppCode.NOT_FOUND
        raise CtsError(code.http_status, f"{text[:100]!r} is no name of anything there", code.code)
    return quote(text, safe="")


def object(path: str) -> str:
    """Return the path of an S3 object; what could become another path is not sent."""
    if set(path.split("/")) & {"", ".", ".."}:
        code = AppCode.ILLEGAL_S3_PATH
        raise CtsError(
            code.http_status, f"{path[:100]!r} is no object; write bucket/key", code.code
        )
    return quote(path, safe="/")


def image(name: str) -> str:
    """Return the path of an image's name, which may hold slashes; what could become another path is not sent."""
    if not name.isprintable() or set(name.split("/")) & {"", ".", ".."}:
        code = AppCode.IMAGE_NAME_PARSE
        raise CtsError(
            code.http_status,
            f"{name[:100]!r} is no image's name; write it as Docker does: ghcr.io/kbase/checkm2:1.0.1",
            code.code,
        )
    return quote(name, safe="/:@")


def token_id(text: str) -> str:
    """Return the public id; what is none is not sent, for it might be another path."""
    match = re.fullmatch(r"(?:cts_)?([0-9a-f]{12})(?:_[0-9a-f]{64})?", text, re.ASCII)
    if match is None:
        code = AppCode.NOT_FOUND
        raise CtsError(
            code.http_status,
            "that is no id of a token; ids are 12 digits such as 1f00a4c79be2: cts token list",
            code.code,
        )
    return match[1]
