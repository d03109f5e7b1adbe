"""/openapi.json: what FastAPI knows by itself, and the bodies that it does not see because handlers read them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from gateway.api.examples import example_of
from gateway.jobs.model import JobInput

_REF = "#/components/schemas/{model}"
_REQUEST_ID = {
    "description": "What the gateway's admins find the request by in their log.",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}
EXAMPLE: dict[str, Any] = {
    "cluster": "dev",
    "image": "ghcr.io/kbase/checksum:1.0",
    "input_files": ["sample-data/reads/sample-2.txt", "sample-data/reads/sample-3.txt"],
    "output_dir": "results/my-first-job",
    "num_containers": 2,
    "memory": "50MB",
    "runtime": "PT5M",
    "params": {
        "args": ["--sum", {"type": "input_files", "input_files_format": "space_separated_list"}]
    },
}


def describe(app: FastAPI) -> None:
    """Let the application's OpenAPI have the job model and plain-text logs."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(plain())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(schema: dict[str, Any]) -> dict[str, Any]:
    job = JobInput.model_json_schema(ref_template=_REF)
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(job.pop("$defs", {}))
    schemas["JobInput"] = job
    schema["paths"]["/jobs"]["post"]["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": _REF.format(model="JobInput")},
                "example": EXAMPLE,
            }
        },
    }
    numbers = schema["paths"]["/metrics"]["get"]["responses"]["200"]
    numbers["content"] = {"text/plain": {"schema": {"type": "string"}}}
    page = schema["paths"]["/docs"]["get"]["responses"]["200"]
    page["content"] = {"text/html": {"schema": {"type": "string"}}}
    schema["components"]["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "Made with `cts token create`. On the Unix socket none is needed: the kernel says who asks.",
        }
    }
    stream = schema["paths"]["/events"]["get"]["responses"]["200"]
    stream["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    log = schema["paths"]["/jobs/{job_id}/log/{number}/{stream}"]["get"]["responses"]["200"]
    log["content"] = {"text/plain": {"schema": {"type": "string", "format": "binary"}}}
    log["headers"] = {
        "X-Log-Size": {
            "description": "Bytes of the whole log so far.",
            "schema": {"type": "integer"},
        },
        "X-Log-Final": {
            "description": "Whether the container has ended.",
            "schema": {"type": "boolean"},
        },
    }
    for methods in schema["paths"].values():
        for operation in methods.values():
            _exemplify(operation, schemas)
    return schema


def _exemplify(operation: dict[str, Any], models: dict[str, Any]) -> None:
    """Give every path and every answer an example, and answers their request's id; the examples of requests are written by hand, for they must work."""
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path" and not parameter["schema"].get("examples"):
            parameter.setdefault(
                "example", example_of(parameter["schema"], models, parameter["name"])
            )
    for answer in operation["responses"].values():
        for kind, content in answer.get("content", {}).items():
            if kind == "application/json" and "schema" in content and "example" not in content:
                content["example"] = example_of(content["schema"], models)
        answer.setdefault("headers", {})["X-Request-ID"] = _REQUEST_ID
