"""The documentation builds, and what it names is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.docs.pages import Page, all_pages

PAGES = all_pages()
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _targets() -> set[str]:
    text = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^(\w+):", text, re.MULTILINE))


def _anchors(page: Page) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.prose(), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-").replace("_", "-")
        for title in titles
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_relative_link_leads_somewhere(page: Page) -> None:
    for link in _LINK.findall(page.prose()):
        path, _, anchor = link.partition("#")
        assert "://" not in link, f"{link}: links lead to the project's own pages"
        target = (page.folder / path).resolve() if path else CHECKOUT / page.name
        assert target.is_file(), link
        if anchor:
            other = Page.read(str(target.relative_to(CHECKOUT)))
            assert anchor in _anchors(other), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_target_of_make_that_is_named_exists(page: Page) -> None:
    named = re.findall(r"(?:`|^\$ |^    )make (\w+)", page.text, re.MULTILINE)
    assert set(named) <= _targets()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_file_of_the_project_that_is_named_exists(page: Page) -> None:
    named = re.findall(r"`((?:gateway|deploy|docs|tests|slurm_templates)/[\w./-]+)`", page.text)
    for name in named:
        assert (CHECKOUT / name).exists(), name


def test_the_files_of_rooms_that_the_design_names_exist() -> None:
    rooms = [path.name for path in (CHECKOUT / "gateway").iterdir() if path.is_dir()]
    text = Page.read("docs/design.md").text
    lists = re.findall(rf"\b((?:{'|'.join(rooms)})/\w+\.py(?:, \w+\.py)*)", text)
    assert len(lists) > 20
    for room, names in (each.split("/", 1) for each in lists):
        for name in names.split(", "):
            assert (CHECKOUT / "gateway" / room / name).is_file(), f"{room}/{name}"


def test_every_page_is_in_the_table_of_contents() -> None:
    text = Page.read("docs/index.md").text
    listed = {line for line in text.splitlines() if re.fullmatch(r"[a-z/-]+", line)}
    there = {
        p.name.removeprefix("docs/").removesuffix(".md") for p in PAGES if p.name != "README.md"
    }
    assert listed == there - {"index"}


def _build(source: Path, target: Path, builder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "-E", "-W", "-q", "-b", builder, str(source), str(target)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


WRONG = {
    "page": "[a page](nowhere.md)",
    "heading": "[a heading](#no-such-heading)",
    "reference": "{doc}`nowhere`",
    "lexer": "```toml\nnot = = toml\n```",
}


def test_the_build_fails_on_each_thing_that_is_wrong(tmp_path: Path) -> None:
    shutil.copy(CHECKOUT / "docs/conf.py", tmp_path)
    for name, text in WRONG.items():
        (tmp_path / f"{name}.md").write_text(f"# A page\n\n{text}\n", encoding="utf-8")
    names = "\n".join(WRONG)
    index = f"# All\n\n```{{toctree}}\n{names}\n```\n"
    (tmp_path / "index.md").write_text(index, encoding="utf-8")
    done = _build(tmp_path, tmp_path / "out", "html")
    assert done.returncode != 0
    for name in WRONG:
        assert re.search(rf"{name}\.md:\d+: WARNING", done.stderr), name


class _Sources(HTMLParser):
    """Collects what a page makes a browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one tag."""
        names = {"script": "src", "link": "href", "img": "src", "iframe": "src"}
        self.found += [value or "" for name, value in attrs if names.get(tag) == name]


def test_the_pages_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = _build(CHECKOUT / "docs", tmp_path, "html")
    assert done.returncode == 0, done.stderr
    sources = _Sources()
    for path in tmp_path.rglob("*.html"):
        sources.feed(path.read_text(encoding="utf-8"))
    assert sources.found
    assert not [url for url in sources.found if "//" in url]


def test_there_is_a_man_page_of_each_command_that_begins_with_its_name(tmp_path: Path) -> None:
    done = _build(CHECKOUT / "docs", tmp_path, "man")
    assert done.returncode == 0, done.stderr
    for page in (
        "cts.1",
        "ctsbatch.1",
        "ctsqueue.1",
        "ctscancel.1",
        "ctsacct.1",
        "ctsd.8",
        "gateway.toml.5",
    ):
        text = (tmp_path / page).read_text(encoding="utf-8")
        name = page.rpartition(".")[0]
        assert re.search(rf"^\.SH NAME\n\.sp\n{re.escape(name)} \\- \w", text, re.MULTILINE), page
        assert "<>" not in text
