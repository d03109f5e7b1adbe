"""/docs: every call on one page that loads nothing and runs nothing."""

from __future__ import annotations

import json
import re
import shlex
from html import unescape
from html.parser import HTMLParser

import pytest
from pydantic import TypeAdapter

from gateway.api.docs import page
from gateway.api.routes import ROUTES, Access
from tests.api.gateway_fake import FakeGateway

_VOID = {"meta"}
_UNCLOSED = {"th", "td", "tr"}  # whose end may be left out


class Reader(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in _VOID | _UNCLOSED:
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(str(value))
            if name == "href":
                self.links.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _UNCLOSED:
            assert self.open.pop() == tag


@pytest.fixture
def shown(fake: FakeGateway) -> str:
    """The page, as anybody gets it over TLS."""
    with fake.over_tcp() as http:
        answer = http.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    return answer.text


def test_every_call_and_every_model_is_on_the_page_and_every_link_leads_somewhere(
    fake: FakeGateway, shown: str
) -> None:
    read = Reader(shown)
    assert read.open == []
    schema = fake.http.get("/openapi.json").json()
    public = {route.name for route in ROUTES if route.access is not Access.NODE}
    assert public <= set(read.ids)
    assert {f"model-{name}" for name in schema["components"]["schemas"]} <= set(read.ids)
    assert len(read.ids) == len(set(read.ids))
    assert {link.removeprefix("#") for link in read.links} <= {*read.ids, "/openapi.json"}


def test_it_loads_and_runs_nothing(shown: str) -> None:
    read = Reader(shown)
    assert not read.tags & {"script", "img", "link", "iframe", "object", "form", "svg"}
    assert read.attributes <= {"id", "href", "class", "lang", "charset"}


def test_each_example_of_a_body_is_one_that_the_gateway_takes(
    fake_admin: FakeGateway, shown: str
) -> None:
    asked = []
    job = fake_admin.jobs.add()
    for text in re.findall(r"<pre>(.*?)</pre>", shown, re.DOTALL):
        words = shlex.split(unescape(text))
        assert words[:3] == ["curl", "--unix-socket", "/run/cts/cts.sock"]
        if "-d" in words:
            body = json.loads(words[words.index("-d") + 1])
            method = words[words.index("-X") + 1] if "-X" in words else "POST"
            path = next(word for word in words if word.startswith("http://cts"))
            path = path.removeprefix("http://cts").replace("/1234/", f"/{job}/")
            assert fake_admin.http.request(method, path, json=body).is_success, text
            asked.append(path)
    assert {"/jobs", "/tokens", "/admin/tokens"} <= set(asked)


def test_every_parameter_body_and_answer_has_an_example_that_its_model_takes(
    fake: FakeGateway,
) -> None:
    schema = fake.http.get("/openapi.json").json()
    models = {route.name: route.model for route in ROUTES}
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            where = f"{path} {operation['operationId']}"
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    assert {"example", "examples"} & {*parameter, *parameter["schema"]}, where
            for answer in operation["responses"].values():
                if "application/json" in (content := answer.get("content", {})):
                    assert content["application/json"].get("example") is not None, where
            body = operation.get("requestBody", {})
            if body.get("required"):
                content = body["content"]["application/json"]
                model = schema["components"]["schemas"][
                    content["schema"]["$ref"].rpartition("/")[2]
                ]
                assert content.get("example") or model.get("example") or model.get("examples"), (
                    where
                )
            model = models[operation["operationId"]]
            if model is not None:
                (good,) = [code for code in operation["responses"] if code.startswith("2")]
                content = operation["responses"][good]["content"]["application/json"]
                TypeAdapter(model).validate_python(content["example"])
            assert all(
                "X-Request-ID" in answer["headers"] for answer in operation["responses"].values()
            )


def test_what_a_description_holds_is_text() -> None:
    evil = "<script>alert(1)</script> & \"'"
    schema = {
        "info": {"title": evil, "version": "1", "description": evil},
        "paths": {
            "/x": {
                "get": {
                    "operationId": "x",
                    "description": evil,
                    "parameters": [
                        {
                            "name": "a",
                            "in": "query",
                            "schema": {"enum": [evil]},
                            "description": evil,
                        }
                    ],
                    "responses": {"200": {}},
                }
            }
        },
        "components": {
            "schemas": {"M": {"description": evil, "properties": {evil: {"type": evil}}}}
        },
    }
    text = page(schema)
    assert "<script>" not in text
    assert Reader(text).tags.isdisjoint({"script"})
