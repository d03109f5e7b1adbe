"""The examples of the documentation, run on the dev cluster as the people that they show."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.conftest import CHECKOUT, DevCluster
from tests.docs.pages import Page, all_pages
from tests.docs.shell import Names, Player, Shell, alike

pytestmark = pytest.mark.cluster

_IMAGES = ("argv", "checksum", "fail", "shell", "sleep")
# Images that nobody has approved yet: of which they are copies, and their tag.
_NEW_IMAGES = {
    "lab/align": ("checksum", "2.1"),
    "lab/sort": ("checksum", "2.1"),
    "lab/merge": ("inspect", "2.1"),
    "lab/both": ("multi", "1.0"),
}
_AT_ONE_TIME = 3
_MARK = "\x1e"


def _has(page: Page, language: str) -> bool:
    return any(b.language == language and "skip" not in b.options for b in page.blocks())


CONSOLE = [page for page in all_pages() if _has(page, "console")]
PYTHON = [page for page in all_pages() if _has(page, "python")]


@pytest.fixture(scope="module")
def fixed(site: DevCluster) -> Mapping[str, str]:
    """What the pages' addresses and the new image are at this cluster."""
    facts = json.loads(site.tool("env").stdout)
    for name in _IMAGES:
        site.image(name)
    new = {name: f"{name}-{uuid.uuid4().hex[:8]}" for name in _NEW_IMAGES}
    for name, (source, tag) in _NEW_IMAGES.items():
        words = (f"{site.registry}/test/{source}:1.0", f"{site.registry}/{new[name]}:{tag}")
        site.run("crane", "copy", "--insecure", *words, user="root")
    return {
        "127.0.0.1:17107": site.registry,
        "https://127.0.0.1:17151": facts["url"],
        "http://127.0.0.1:17108": facts["s3_endpoint"],
        **new,
    }


@pytest.fixture(scope="module")
def played(
    site: DevCluster, fixed: Mapping[str, str], request: pytest.FixtureRequest
) -> Iterator[Mapping[str, Future[int]]]:
    """The pages of the tests that were chosen, some at one time: most of it is waiting for Slurm."""

    def shell_of(user: str) -> Shell:
        tool = [str(CHECKOUT / "deploy/devcluster"), *site.options]
        if user == "host":
            return Shell([], f"cd {CHECKOUT}")
        # Other tests may have other sites on at the same time.
        return Shell([*tool, "exec", "--user", user, "--", "env", "CTS_SITE=dev"])

    chosen: dict[str, Page] = {}
    for item in request.session.items:
        page = item.callspec.params.get("page") if hasattr(item, "callspec") else None
        if isinstance(page, Page) and item.name.startswith("test_the_console_examples"):
            chosen[page.name] = page
    with ThreadPoolExecutor(_AT_ONE_TIME) as pool:
        yield {
            name: pool.submit(Player(page, Names(fixed), shell_of).play)
            for name, page in chosen.items()
        }


@pytest.mark.parametrize("page", CONSOLE, ids=lambda page: page.name)
def test_the_console_examples_of_a_page_print_what_it_says(
    page: Page, played: Mapping[str, Future[int]]
) -> None:
    assert played[page.name].result() > 0


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.name)
def test_the_python_examples_of_a_page_print_what_it_says(
    page: Page, site: DevCluster, fixed: Mapping[str, str]
) -> None:
    names = Names(fixed)
    blocks = [b for b in page.blocks() if b.language == "python" or "output" in b.options]
    lines: dict[str, list[str]] = {}
    for block in blocks:
        if block.language == "python":
            # Each line keeps its number, for tracebacks; the mark stands where the fence ends.
            mine = lines.setdefault(block.options.get("user", "alice"), [])
            mine += [""] * (block.line - len(mine)) + block.text.splitlines()
            mine.append(f"print({_MARK!r}, flush=True)")
    printed_by = {}
    for user, text in lines.items():
        script = names.real("\n".join(text))
        home = site.run("mktemp", "-d", user=user).stdout.strip()
        done = site.run(
            *("sh", "-c", 'cd "$1" && exec /opt/cts/bin/python -', "sh", home),
            user=user,
            text=script,
            check=False,
        )
        site.run("rm", "-r", home, user=user)
        assert done.returncode == 0, f"{page.name}: {done.stderr}"
        printed_by[user] = iter(done.stdout.split(f"{_MARK}\n"))
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language == "python":
            shown = after is not None and after.language != "python"
            expected = after.text if after is not None and shown else ""
            printed = next(printed_by[block.options.get("user", "alice")])
            assert alike(names.real(expected).splitlines(), printed.splitlines()), (
                f"{block.place}\n-- the page:\n{expected}\n-- printed:\n{printed}"
            )
