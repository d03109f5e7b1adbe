"""/docs: the OpenAPI document as a page for people. One piece of HTML without scripts, so that it loads nothing from elsewhere."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse

_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "h2{border-top:1px solid #ccc;padding-top:1em}code,pre{font-family:monospace;background:#f4f4f4}"
    "pre{padding:.6em;overflow:auto}table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;"
    "padding:.1em 1em .1em 0}.who{color:#666}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

Node = Mapping[str, Any]


def docs(request: Request) -> HTMLResponse:
    """Show all calls with their parameters, bodies, answers and examples, for people."""
    state = request.app.state
    if not hasattr(state, "docs"):
        state.docs = page(request.app.openapi())
    return HTMLResponse(state.docs, headers={"Content-Security-Policy": _POLICY})


def page(schema: Node) -> str:
    """Write the page of an OpenAPI document (3.1)."""
    calls = [
        (method.upper(), path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    models = schema["components"]["schemas"]
    parts = [
        f"<h1>{escape(schema['info']['title'])} {escape(schema['info']['version'])}</h1>",
        f"<p>{escape(schema['info']['description'])} On the Unix socket the kernel says who asks; over TLS send "
        "<code>Authorization: Bearer TOKEN</code>. The same for programs: <a href='/openapi.json'>/openapi.json</a>.</p>",
        "<ul>",
        *(
            f"<li><a href='#{operation['operationId']}'><code>{method} {escape(path)}</code></a></li>"
            for method, path, operation in calls
        ),
        "</ul>",
        *(piece for call in calls for piece in _call(*call, models)),
        "<h2>Models</h2>",
        *(piece for name, model in models.items() for piece in _model(name, model)),
    ]
    body = "\n".join(parts)
    return (
        f"<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>cts API</title><style>{_STYLE}</style>"
        f"<body>{body}</body></html>"
    )


def _call(method: str, path: str, operation: Node, models: Node) -> Iterator[str]:
    who = "needs a user" if operation.get("security") else "open to anybody"
    if path.startswith("/admin/"):
        who = "for admins"
    yield f"<h2 id='{operation['operationId']}'><code>{method} {escape(path)}</code></h2>"
    yield f"<p>{escape(operation.get('description', ''))} <span class='who'>({who})</span></p>"
    parameters = operation.get("parameters", [])
    if parameters:
        yield "<table><tr><th>parameter<th>in<th>type<th></tr>"
        for each in parameters:
            needed = "" if each.get("required") else ", optional"
            yield (
                f"<tr><td><code>{escape(each['name'])}</code><td>{each['in']}{needed}"
                f"<td>{_type(each['schema'])}<td>{escape(each.get('description', ''))}</tr>"
            )
        yield "</table>"
    body = _content(operation.get("requestBody", {}))
    example = _example(body, models)
    if body:
        yield f"<p>Body: {_type(body.get('schema', {}))}</p>"
    yield f"<pre>{escape(_curl(method, path, parameters, example))}</pre>"
    for status, answer in operation["responses"].items():
        if status[0] == "2":
            found = _type(_content(answer).get("schema", {}))
            yield f"<p>Answer {status}: {found if status != '204' else 'nothing'}</p>"
            if "example" in _content(answer):
                shown = json.dumps(_content(answer)["example"], indent=1, ensure_ascii=False)
                yield f"<pre class='answer'>{escape(shown)}</pre>"


def _content(holder: Node) -> Node:
    found: Node = next(iter(holder.get("content", {}).values()), {})
    return found


def _example(body: Node, models: Node) -> Any:
    if "example" in body:
        return body["example"]
    for name in _references(body.get("schema", {})):
        if "example" in models[name]:
            return models[name]["example"]
    return None


def _references(node: Node) -> Iterator[str]:
    if "$ref" in node:
        yield str(node["$ref"]).rpartition("/")[2]
    for inner in node.get("anyOf", ()):
        yield from _references(inner)


def _curl(method: str, path: str, parameters: list[Node], example: Any) -> str:
    for each in parameters:
        if each["in"] == "path":
            given = (each["schema"].get("examples") or ["0"])[0]
            path = path.replace(f"{{{each['name']}}}", str(given))
    words = ["curl", "--unix-socket", "/run/cts/cts.sock"]
    if method not in ("GET", "POST") or (method == "POST" and example is None):
        words += ["-X", method]
    words.append(f"http://cts{path}")
    if example is not None:
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(example)]
    return shlex.join(words)


def _type(node: Node) -> str:
    names = list(_references(node))
    if names:
        return " or ".join(f"<a href='#model-{name}'>{escape(name)}</a>" for name in names)
    if "enum" in node or "const" in node:
        values = node.get("enum", [node.get("const")])
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in values)
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(_type(inner) for inner in node["anyOf"]))
    if node.get("type") == "array":
        return f"list of {_type(node.get('items', {}))}"
    return escape(str(node.get("format") or node.get("type") or "anything"))


def _model(name: str, model: Node) -> Iterator[str]:
    yield f"<h3 id='model-{escape(name)}'>{escape(name)}</h3><p>{escape(model.get('description', ''))}</p>"
    if "properties" not in model:
        yield f"<p>{_type(model)}</p>"
        return
    yield "<table>"
    for field, node in model["properties"].items():
        needed = "" if field in model.get("required", ()) else "optional"
        yield (
            f"<tr><td><code>{escape(field)}</code><td>{_type(node)}<td class='who'>{needed}"
            f"<td>{escape(node.get('description', ''))}</tr>"
        )
    yield "</table>"
