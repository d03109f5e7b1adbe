"""docs/benchmarks.md and its charts, of what transfer.py measured."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
_SETS = {
    "large": "one file of 2 GiB",
    "medium": "100 files of 20 MiB",
    "small": "5,000 files of 100 kB",
}
_NAMES = {
    "agent": "agent",
    "agent-plain": "agent, no awscrt",
    "rclone": "rclone",
    "rclone-sync": "rclone, then sync",
    "aws": "aws cli",
    "curl": "curl, one stream",
    "job": "job of the gateway",
}
_HEAD = """# Benchmarks

The agent's transfers beside rclone, the aws cli and one stream of curl, against Ceph's RGW on one machine of two cores that also runs the store, so
that its CPU counts: made by `tests/bench/transfer.py --write` on {date}, medians of {rounds} rounds with the tools in turn; the machine's
load was {load:.1f} before.

- The agent verifies every byte and has it synced to the disk before a file gets its name; the others sync nothing, but for
  `rclone, then sync`, which ends when the disk has it all, too. `agent` is as on nodes with
  awscrt: downloads are checked by the CRC64NVME that the store keeps, uploads by one that the store checks. `agent, no awscrt` is as on other nodes: downloads by MD5, uploads by CRC32.
- rclone: `--transfers 16 --checkers 16 --multi-thread-streams 8 --multi-thread-cutoff 64M --s3-chunk-size 64M --s3-upload-concurrency 8
  --s3-upload-cutoff 64M --fast-list`. It checks the MD5 of objects of one part, and nothing of an object in parts that it did not upload itself.
- aws cli: `max_concurrent_requests = 16`, parts of 64 MB.
- curl: one connection, presigned URLs, no checksums.
- job: the stage-in and stage-out of a job that copies the data, on a node with awscrt: the transfer with the start of its step, and the grants.
"""


def write(rows: Sequence[dict[str, Any]], rounds: int, load: float, date: str) -> None:
    """Write the page, a chart for each direction, and the entry in the index."""
    page = _HEAD.format(date=date, rounds=rounds, load=load)
    for direction, title in (("down", "Downloads"), ("up", "Uploads")):
        chart = f"benchmarks-{direction}.svg"
        mine = [row for row in rows if row["direction"] == direction]
        (DOCS / chart).write_text(_chart(mine), encoding="utf-8")
        page += f"\n## {title}\n\n![{title} in seconds]({chart})\n"
        for case, words in _SETS.items():
            found = {row["tool"]: row for row in mine if row["case"] == case}
            if found:
                page += f"\n{words[0].upper()}{words[1:]}:\n\n{_table(found)}"
    (DOCS / "benchmarks.md").write_text(page, encoding="utf-8")
    index = DOCS / "index.md"
    text = index.read_text(encoding="utf-8")
    if "\nbenchmarks\n" not in text:
        index.write_text(text.replace("\nroadmap\n", "\nbenchmarks\nroadmap\n"), encoding="utf-8")


def _table(found: dict[str, dict[str, Any]]) -> str:
    head = "| | seconds | MB/s | of rclone | of aws | CPU s | of the store | peak MB |\n"
    lines = [head, "|---|---:|---:|---:|---:|---:|---:|---:|\n"]
    for tool, row in found.items():
        ratios = [
            f"{row['seconds'] / found[other]['seconds']:.2f}" if other in found else ""
            for other in ("rclone", "aws")
        ]
        store, peak = (
            ("", "")
            if row["store"] is None
            else (f"{row['store']:.1f}", f"{row['peak'] / 1e6:.0f}")
        )
        lines.append(
            f"| {_NAMES[tool]} | {row['seconds']:.2f} | {row['rate']:.0f} | {ratios[0]} | {ratios[1]} "
            f"| {row['cpu']:.1f} | {store} | {peak} |\n"
        )
    return "".join(lines)


def _chart(rows: Sequence[dict[str, Any]]) -> str:
    """Return an SVG with a bar a tool and set of data, the bars of a set to one scale."""
    lines, y = [], 0
    for case, words in _SETS.items():
        mine = [row for row in rows if row["case"] == case]
        longest = max((row["seconds"] for row in mine), default=1)
        y += 24
        lines.append(f'<text x="0" y="{y}" font-weight="bold">{escape(words)}</text>')
        for row in mine:
            y += 20
            width = 400 * row["seconds"] / longest
            colour = "#1f77b4" if row["tool"] in ("agent", "agent-plain", "job") else "#b0b0b0"
            lines.append(f'<text x="0" y="{y}">{escape(_NAMES[row["tool"]])}</text>')
            lines.append(
                f'<rect x="130" y="{y - 12}" width="{width:.0f}" height="14" fill="{colour}"/>'
            )
            lines.append(f'<text x="{136 + width:.0f}" y="{y}">{row["seconds"]:.1f} s</text>')
        y += 8
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="620" height="{y + 8}" font-family="sans-serif" '
        f'font-size="13">\n{body}\n</svg>\n'
    )
