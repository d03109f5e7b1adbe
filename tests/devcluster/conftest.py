"""The dev cluster's own code is found beside its script."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "deploy"))

from devclusterlib.settings import Settings  # noqa: E402


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A cluster that is not up, in a cache of its own."""
    return Settings(
        "unit", str(tmp_path), str(tmp_path / "clusters/unit"), 28100, None, "none", osd_bytes=1
    )
