"""What the tests of the dev cluster's own code share."""

from __future__ import annotations

from pathlib import Path

import pytest
from devclusterlib.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A cluster that is not up, in a cache of its own."""
    return Settings(
        "unit", str(tmp_path), str(tmp_path / "clusters/unit"), 28100, None, "none", osd_bytes=1
    )
