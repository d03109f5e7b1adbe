"""The reference pages say what the code says: keys, fields, defaults, codes and messages."""

from __future__ import annotations

import inspect
import re
import tomllib
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from gateway import config
from gateway.client import Client
from gateway.config import parse_config
from gateway.errors import AppCode
from gateway.jobs.model import JobInput, parse_job_input
from gateway.jobs.params import Parameter, Params
from gateway.jobs.parts import Dependency, InputFile, Sharing
from gateway.jobs.states import WIRE_STATES, Phase
from gateway.slurm.states import TABLE, Meaning
from tests.conftest import CHECKOUT
from tests.docs.literals import is_printed
from tests.docs.pages import Page, terms

CONFIGURATION = Page.read("docs/configuration.md")
JOB = Page.read("docs/job.md")
ERRORS = Page.read("docs/errors.md")
EXAMPLE = (CHECKOUT / "deploy/gateway.toml.example").read_text(encoding="utf-8")

CONFIG: dict[str, type[BaseModel]] = {
    "[gateway]": config.GatewaySection,
    "[api]": config.ApiSection,
    "[database]": config.DatabaseSection,
    "[s3]": config.S3Section,
    "[s3.stores.NAME]": config.StoreSection,
    "[images]": config.ImagesSection,
    "[roles]": config.RolesSection,
    "[[path_rules]]": config.PathRule,
    "[webhooks]": config.WebhooksSection,
    "[[receivers]]": config.Receiver,
    "[kafka]": config.KafkaSection,
    "[sites.NAME]": config.SiteSection,
    "[sites.NAME.ssh]": config.SshSection,
}
DOCUMENT: dict[str, type[BaseModel]] = {
    "Fields": JobInput,
    "Fields of params": Params,
    "Fields of a parameter object": Parameter,
    "Fields of an input file": InputFile,
    "Fields of a dependency": Dependency,
    "Fields of share_with": Sharing,
}
JOB_BASE: dict[str, Any] = {
    "cluster": "dev",
    "image": "lab/align:1",
    "input_files": ["data/x", "data/y"],
    "output_dir": "results/x",
    "num_containers": 2,
}
SITE_OWN = {"work_dir", "helper", "slurm_user"}  # in the example as a site has them
_TERM = re.compile(r"`(\w+)` \(([^,()]+), (required(?: without \w+)?|no default|default `(.+)`)\)")

Term = tuple[str, str, str | None]


def _terms(page: Page, section: str) -> dict[str, Term]:
    """Name of each term: its kind, `required` or the like, and its default as it is written."""
    found = {}
    for term in terms(page.sections()[section]):
        match = _TERM.fullmatch(term)
        assert match is not None, (
            f"{page.name}, {section}: {term!r} is no `name` (kind, default `x`)"
        )
        found[match[1]] = (match[2], match[3], match[4])
    return found


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_defaults=True)
    return str(value) if hasattr(value, "__fspath__") else value


def test_every_part_of_the_configuration_has_a_section() -> None:
    names = {re.sub(r"\.(?:stores\.)?NAME.*|\W", "", name) for name in CONFIG}
    assert names == set(config.Config.model_fields)


@pytest.mark.parametrize("section", CONFIG)
def test_the_page_of_the_configuration_has_every_key_with_its_default(section: str) -> None:
    told, fields = _terms(CONFIGURATION, section), CONFIG[section].model_fields
    assert list(told) == list(fields)
    for name, field in fields.items():
        _, rule, text = told[name]
        if field.is_required():
            assert rule == "required", name
        elif field.default is None:
            assert rule == "no default", name
        else:
            assert text is not None, name
            given = tomllib.loads(f"v = {text}")["v"]
            assert _validated(CONFIG[section], name, given) == field.default, name


def _validated(model: type[BaseModel], name: str, value: object) -> object:
    needed: dict[str, object] = {
        "credentials_file": "/x",
        "work_dir": "/x",
        "path": "x",
        "perm": "read",
        "name": "x",
        "url": "https://x",
        "secret_file": "/x",
        "host": "x",
        "user": "x",
        "key_file": "/x",
    }
    least = {
        key: needed[key]
        for key, field in model.model_fields.items()
        if field.is_required() or key == "key_file"
    }
    return getattr(model.model_validate({**least, name: value}), name)


def _example(*, uncommented: bool) -> dict[str, Any]:
    text = EXAMPLE
    if uncommented:
        text = re.sub(r"^# (\[\[?[\w.]+\]\]?$|\w+ = )", r"\1", text, flags=re.MULTILINE)
    return tomllib.loads(text)


def test_the_example_configuration_is_right_as_it_is_and_with_every_key_used() -> None:
    assert parse_config(_example(uncommented=False)).sites
    assert parse_config(_example(uncommented=True)).sites


@pytest.mark.parametrize("section", CONFIG)
def test_the_example_configuration_has_every_key(section: str) -> None:
    assert set(_in_example(section, uncommented=True)) == set(CONFIG[section].model_fields)


@pytest.mark.parametrize("section", CONFIG)
def test_what_the_example_configuration_sets_are_the_defaults(section: str) -> None:
    model = CONFIG[section]
    for name, value in _in_example(section, uncommented=False).items():
        field = model.model_fields[name]
        if not field.is_required() and name not in SITE_OWN:
            assert _validated(model, name, value) == field.default, name


def _in_example(section: str, *, uncommented: bool) -> dict[str, Any]:
    whole = _example(uncommented=uncommented)
    if section == "[sites.NAME]":
        return dict(whole["sites"]["dev"])
    if section == "[sites.NAME.ssh]":
        return dict(whole["sites"]["dev"].get("ssh", {}))
    if section == "[s3.stores.NAME]":
        return dict(whole["s3"].get("stores", {}).get("archive", {}))
    if section.startswith("[["):
        return dict(whole.get(section.strip("[]"), [{}])[0])
    return dict(whole[section.strip("[]")])


@pytest.mark.parametrize("section", DOCUMENT)
def test_the_page_of_the_job_document_has_every_field_with_its_default(section: str) -> None:
    told, fields = _terms(JOB, section), DOCUMENT[section].model_fields
    assert set(told) == set(fields)
    for name, field in fields.items():
        _, rule, text = told[name]
        if field.is_required():
            assert rule == "required", name
        elif name == "input_files":
            assert rule == "required without input_dirs"
        elif field.default is None:
            assert rule == "no default", name
        else:
            assert text is not None, name
            given = yaml.safe_load(text)
            default = field.get_default(call_default_factory=True)
            assert default is not PydanticUndefined
            if section == "Fields":
                given = getattr(
                    parse_job_input({**JOB_BASE, "num_containers": 1, name: given}), name
                )
            assert _plain(given) in (_plain(default), list(default) if default == () else ...), name


# A value of each optional field, as a user might set it.
SAMPLES: dict[str, Any] = {
    "params": {"args": ["x"]},
    "num_containers": 1,
    "cpus": 2,
    "memory": "1GB",
    "runtime": 120,
    "input_roots": ["data"],
    "name": "x",
    "labels": {"a": "b"},
    "allow_empty_output": True,
    "shared_inputs": ["data/z"],
    "script": "echo",
    "input_dirs": ["data/"],
    "input_globs": ["data/*.fq"],
    "split_points": [1],
    "depends_on": [{"job_id": "1"}],
    "skip_existing": True,
    "gpus": 1,
    "nodes": 2,
    "partition": "x",
    "qos": "x",
    "account": "x",
    "constraint": "x",
    "reservation": "x",
    "licenses": "x",
    "retries": 1,
    "per_container_args": [["x"], ["y"]],
    "array": "1-2",
    "share_with": {"users": ["bob"]},
}


def test_there_is_a_sample_of_every_optional_field() -> None:
    assert set(SAMPLES) == set(JobInput.model_fields) - {
        "cluster",
        "image",
        "input_files",
        "output_dir",
    }


@pytest.mark.parametrize("field", SAMPLES)
def test_every_field_is_taken_and_none_is_marked_as_not_yet_run(field: str) -> None:
    assert getattr(parse_job_input({**JOB_BASE, field: SAMPLES[field]}), field) is not None
    said = next(
        said
        for term, said in terms(JOB.sections()["Fields"]).items()
        if term.startswith(f"`{field}`")
    )
    assert "*Not run yet" not in said


@pytest.mark.parametrize("code", AppCode, ids=lambda code: code.name)
def test_every_appcode_is_explained_with_its_message_and_remedy(code: AppCode) -> None:
    wanted = f"`{code.code}` {code.title} ({code.http_status})"
    said = [
        s
        for section in ERRORS.sections().values()
        for t, s in terms(section).items()
        if t == wanted
    ]
    assert len(said) == 1, wanted
    used = any(
        re.search(rf"AppCode\.{code.name}\b", path.read_text(encoding="utf-8"))
        for path in (CHECKOUT / "gateway").rglob("*.py")
        if path != CHECKOUT / "gateway/errors.py"
    )
    assert said[0].startswith("Not used by this release") != used
    assert ("*Message:* `" in said[0] and "*Remedy:*" in said[0]) == used


def _example_messages() -> list[str]:
    found: list[str] = []
    for section in ERRORS.sections().values():
        for said in terms(section).values():
            for part in re.findall(r"\*Message:\*(.*?)\*Remedy:\*", said):
                found += re.findall(r"`([^`]*)`", part)
    return found


def _sentences() -> list[str]:
    whole = ERRORS.prose()
    text = whole[whole.index("## Failed jobs") :]
    return [term.strip("`") for term in terms(text)]


@pytest.mark.parametrize("message", _example_messages())
def test_a_message_of_the_catalogue_is_one_that_the_code_prints(message: str) -> None:
    assert is_printed(message)


@pytest.mark.parametrize("sentence", _sentences())
def test_a_sentence_of_a_failed_job_is_one_that_the_code_prints(sentence: str) -> None:
    assert is_printed(sentence)


def test_a_text_that_no_code_prints_is_found_out() -> None:
    assert not is_printed("the moon … is not made of cheese today")
    assert is_printed("input … changed since submission")
    assert is_printed("There is no object 'a/b'; check the key's spelling.")


def test_every_end_in_slurm_has_its_sentence_in_the_catalogue() -> None:
    ends = {row.message for row in TABLE.values() if row.meaning is Meaning.ENDED}
    missing = [end for end in ends if not any(s.startswith(end) for s in _sentences())]
    assert not missing


def test_the_page_of_the_python_client_has_every_call_with_its_parameters() -> None:
    rows = re.findall(r"^\| (.*?) \|", Page.read("docs/client.md").text, re.MULTILINE)
    told = dict(re.findall(r"`(\w+)\((.*?)\)`", " ".join(rows)))
    there = {
        name: call
        for name, call in inspect.getmembers(Client, inspect.isfunction)
        if not name.startswith("_")
    }
    assert set(told) == set(there)
    for name, call in there.items():
        parameters = inspect.signature(call).parameters
        if "filters" not in parameters:
            names = set(re.findall(r"\w+", told[name]))
            assert names <= set(parameters), name
            assert set(parameters) - names <= {"self", "user", "everyone"}, name


def test_every_call_of_the_python_client_stands_in_an_example_that_runs() -> None:
    blocks = [b.text for b in Page.read("docs/client.md").blocks() if b.language == "python"]
    shown = set(re.findall(r"\.(\w+)\(", "\n".join(blocks)))
    calls = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if name[0] != "_"}
    assert calls - shown == set()


def test_the_page_of_states_has_every_phase_state_and_state_of_slurm() -> None:
    page = Page.read("docs/states.md")
    rows = re.findall(r"^\| (\S+) \| (\S+) \|", page.prose(), re.MULTILINE)
    assert {(str(phase), phase.wire) for phase in Phase} <= set(rows)
    unused = set(WIRE_STATES) - {phase.wire for phase in Phase}
    assert unused == set(
        re.findall(
            r"`(\w+)`",
            page.text[page.text.index("The protocol's states") :].split(" are not used")[0],
        )
    )
    slurm = page.sections()["What Slurm's states mean"]
    by_meaning = {
        meaning: set(re.findall(r"[A-Z_]{4,}", row))
        for meaning, row in zip(
            (Meaning.WAITING, Meaning.ACTIVE, Meaning.ENDED),
            [line for line in slurm.splitlines() if line.startswith("| ")][1:],
            strict=True,
        )
    }
    for meaning, names in by_meaning.items():
        assert names == {name for name, row in TABLE.items() if row.meaning is meaning}
