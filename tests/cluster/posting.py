"""Sending many documents to the gateway by one command, for commands in the dev cluster take their time."""

from __future__ import annotations

import json
from typing import Any

from tests.conftest import DevCluster

_LOOP = """
while read -r body; do
  printf %s "$body" | curl -s --unix-socket /run/cts/cts.sock -d @- "http://cts/jobs$1"; echo
done
"""


def post(
    site: DevCluster, documents: list[dict[str, Any]], query: str = ""
) -> list[dict[str, Any]]:
    """POST each to /jobs; returns the answers."""
    text = "".join(f"{json.dumps(each)}\n" for each in documents)
    done = site.run("bash", "-c", _LOOP, "bash", query, text=text)
    return [json.loads(line) for line in done.stdout.splitlines()]
