"""Examples for OpenAPI, made of the models themselves, so that none is missing or out of date."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What fields of these names hold, where their type allows it.
_NAMED: dict[str, list[Any]] = {
    "id": ["1234", "1f00a4c79be2"],
    "job_id": ["1234"],
    "user": ["alice"],
    "registered_by": ["ada"],
    "created_by": ["alice"],
    "cluster": ["dev"],
    "site": ["dev"],
    "roles": [["user"]],
    "service_name": ["CDM Task Service"],
    "version": ["0.1.0"],
    "git_hash": ["3b18e512dba79e4c8300dd08aeb37f8e728b8dad"],
    "name": ["ghcr.io/kbase/checkm2"],
    "digest": ["sha256:" + "5b" * 32],
    "tag": ["1.0.1"],
    "entrypoint": [["/bin/checkm2"]],
    "file": ["results/my-first-job/table.tsv"],
    "path": ["results/alice"],
    "crc64nvme": ["4KaY9TdT194="],
    "etag": ["5d41402abc4b2a76b9719d911017c592"],
    "size": [12000],
    "url": ["https://s3.example.org/results/my-first-job/table.tsv?X-Amz-Signature=…"],
    "state": ["complete", "active"],
    "phase": ["complete"],
    "error": [None],
    "reason": [None],
    "exit_codes": [[0, 0]],
    "message": ["There is no job 1234 of yours; list yours with: cts jobs"],
    "httpcode": [404],
    "httpstatus": ["Not Found"],
    "appcode": [40040],
    "apperror": ["No such job"],
    "request_id": ["0f8fad5bd9cb469fa16570867728950e"],
    "request_validation_detail": [None],
    "token": ["cts_1f00a4c79be2_…"],
    "job_input": [{"cluster": "dev", "image": "ghcr.io/kbase/checkm2:1.0.1", "output_dir": "results/my-first-job/"}],
    "scripts": ["#!/bin/sh\n#SBATCH --job-name=cts-dev-1234-0\n"],
}  # fmt: skip
_FORMATS = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "binary": "",
    "duration": "PT1H",
}
_TYPES: dict[str, Any] = {
    "string": "text",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}
_DEEP = 6

Node = Mapping[str, Any]


def example_of(node: Node, models: Mapping[str, Node], name: str = "", depth: int = 0) -> Any:
    """Make an example of a schema (OpenAPI 3.1): its own where it has one, else of its parts."""
    if "example" in node:
        return node["example"]
    if node.get("examples"):
        return node["examples"][0]
    if "$ref" in node:
        inner = models[str(node["$ref"]).rpartition("/")[2]]
        return example_of(inner, models, name, depth + 1)
    if "const" in node:
        return node["const"]
    for value in _NAMED.get(name, ()):
        if _may_be(node, value):
            return value
    if "enum" in node:
        return node["enum"][0]
    choices = node.get("anyOf") or node.get("oneOf")
    if choices:
        return example_of(choices[0], models, name, depth)
    if node.get("type") == "array":
        return (
            [] if depth >= _DEEP else [example_of(node.get("items", {}), models, name, depth + 1)]
        )
    if "properties" in node:
        return {
            field: example_of(inner, models, field, depth + 1)
            for field, inner in node["properties"].items()
        }
    if node.get("type") == "object":
        return {}
    return _FORMATS.get(str(node.get("format")), _TYPES.get(str(node.get("type"))))


def _may_be(node: Node, value: Any) -> bool:
    """Whether a field of this schema may hold the value, as far as types say it."""
    if "anyOf" in node:
        return any(_may_be(inner, value) for inner in node["anyOf"])
    if "enum" in node:
        return value in node["enum"]
    kinds: dict[str, type | tuple[type, ...]] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "array": list,
        "object": dict,
        "null": type(None),
    }
    kind = kinds.get(str(node.get("type")))
    if kind is None or not isinstance(value, kind) or "format" in node:
        return False
    if isinstance(value, list) and value:
        return _may_be(node.get("items", {}), value[0])
    return True
