"""Every example is fit to be run or checked; what is not run is marked, and there is little of it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import yaml

from gateway.config import parse_config
from gateway.errors import ConfigError
from gateway.jobs.model import parse_job_input
from tests.docs.pages import Block, all_pages
from tests.docs.shell import examples

MOST_SKIPPED = 6
OPTIONS = {
    "console": {"user", "host", "skip"},
    "yaml": {"file", "part", "prometheus"},
    "toml": {"file", "wrong"},
    "python": {"user"},
    "text": {"file", "output"},
    "ini": set(),
}
BLOCKS = [block for page in all_pages() for block in page.blocks()]
OURS = [block for block in BLOCKS if not block.page.endswith(("node-protocol.md", "roadmap.md"))]


def of(language: str) -> list[Any]:
    """Return the blocks of a language as parameters."""
    return [pytest.param(b, id=b.place) for b in BLOCKS if b.language == language]


@pytest.mark.parametrize("block", OURS, ids=lambda block: block.place)
def test_a_block_is_of_a_kind_that_is_run_or_checked(block: Block) -> None:
    if block.language.startswith("{"):
        assert block.language == "{toctree}"
        return
    assert block.language in OPTIONS
    assert set(block.options) <= OPTIONS[block.language]


@pytest.mark.parametrize("block", of("console"))
def test_a_console_example_has_prompts_and_says_why_it_is_not_run(block: Block) -> None:
    assert examples(block)
    if "skip" in block.options:
        assert len(block.options["skip"].split()) >= 3, "say why it is not run"


def test_few_examples_are_not_run() -> None:
    skipped = [block.place for block in BLOCKS if "skip" in block.options]
    assert len(skipped) <= MOST_SKIPPED, skipped


JOBS = [each for each in of("yaml") if "prometheus" not in each.values[0].options]


@pytest.mark.parametrize("block", JOBS)
def test_a_job_in_the_documentation_is_one_that_the_gateway_runs(block: Block) -> None:
    document = yaml.safe_load(block.text)
    if "part" in block.options:
        document = {
            "cluster": "dev",
            "image": "127.0.0.1:17107/test/checksum:1.0",
            "input_files": ["sample-data/x"],
            "output_dir": "results/x",
            **document,
        }
    parse_job_input(document)


@pytest.mark.parametrize("block", of("toml"))
def test_a_configuration_in_the_documentation_is_right_or_marked_as_wrong(block: Block) -> None:
    document = tomllib.loads(block.text)
    document.setdefault("s3", {"credentials_file": "/etc/cts/s3-credentials"})
    document.setdefault("sites", {"dev": {"work_dir": "/shared/cts"}})
    if "wrong" in block.options:
        with pytest.raises(ConfigError):
            parse_config(document)
        return
    assert parse_config(document).sites


@pytest.mark.parametrize("block", of("python"))
def test_a_python_example_is_python(block: Block) -> None:
    assert compile(block.text, block.place, "exec").co_names
