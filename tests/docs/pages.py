"""The pages of the documentation as the tests see them: fenced blocks, terms, links.

A fence's info string is a language and options: ```` ```console user=ada ````. docs/hacking.md
says which options there are.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import CHECKOUT

_FENCE = re.compile(r"( *)(`{3,})([^`]*)")
_TERM_BODY = re.compile(r" *:( |$)")


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its opening fence, counted from 1."""

    page: str
    line: int
    language: str
    options: Mapping[str, str]
    text: str

    @property
    def place(self) -> str:
        """Where it is, as editors write it."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """A Markdown file, named by its path in the checkout."""

    name: str
    text: str

    @classmethod
    def read(cls, name: str) -> Page:
        """Read one."""
        return cls(name, (CHECKOUT / name).read_text(encoding="utf-8"))

    @property
    def folder(self) -> Path:
        """The directory that its relative links start from."""
        return (CHECKOUT / self.name).parent

    def blocks(self) -> Iterator[Block]:
        """Yield the fenced blocks in order."""
        lines = iter(enumerate(self.text.splitlines(), 1))
        for number, line in lines:
            opening = _FENCE.fullmatch(line)
            if opening is None:
                continue
            indent, fence = len(opening[1]), opening[2]
            body = []
            for _, inner in lines:
                if inner.strip() == fence:
                    break
                body.append(inner[indent:] if inner[:indent].isspace() else inner)
            language, *words = shlex.split(opening[3]) or [""]
            options = dict(word.partition("=")[::2] for word in words)
            text = "".join(f"{each}\n" for each in body)
            yield Block(self.name, number, language, options, text)

    def prose(self) -> str:
        """Return the text without fenced blocks; lines keep their numbers."""
        kept, fence = [], ""
        for line in self.text.splitlines():
            opening = _FENCE.fullmatch(line)
            if fence:
                fence = "" if line.strip() == fence else fence
                kept.append("")
            elif opening is not None:
                fence = opening[2]
                kept.append("")
            else:
                kept.append(line)
        return "\n".join(kept)

    def sections(self) -> dict[str, str]:
        """Return the prose below each heading, down to the next one of any level."""
        found: dict[str, str] = {}
        title = ""
        for line in self.prose().splitlines():
            if line.startswith("#"):
                title = line.lstrip("# ")
                found[title] = ""
            else:
                found[title] = found.get(title, "") + line + "\n"
        return found


def terms(text: str) -> dict[str, str]:
    """Return the terms of definition lists with what is said of each."""
    found: dict[str, str] = {}
    lines = text.splitlines()
    at = 0
    while at < len(lines) - 1:
        if not (lines[at].strip() and _TERM_BODY.match(lines[at + 1])):
            at += 1
            continue
        term, said = lines[at].strip(), [lines[at + 1].strip()[1:].strip()]
        at += 2
        while at < len(lines) and (not lines[at].strip() or lines[at].startswith("  ")):
            said.append(lines[at].strip())
            at += 1
        found[term] = " ".join(said).strip()
    return found


def all_pages() -> list[Page]:
    """Return README.md and everything below docs/."""
    names = [str(path.relative_to(CHECKOUT)) for path in sorted((CHECKOUT / "docs").rglob("*.md"))]
    return [Page.read(name) for name in ("README.md", *names)]
