"""test.cfg: what the tests use on this machine; test.cfg.example says what each line is for."""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class TestSettings:
    """One field a line of [test]; empty where the default serves. Cluster, cache and slurm_prefix are read by deploy/devcluster."""

    __test__ = False

    crane: str = ""
    apptainer: str = ""
    keep_temporary: bool = False
    postgresql_url: str = ""
    pyslurm_python: str = ""


def load(path: Path = CHECKOUT / "test.cfg") -> TestSettings:
    """Read the file; without it all is default."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path)
    if not parser.has_section("test"):
        parser.add_section("test")
    section = parser["test"]
    return TestSettings(
        crane=section.get("crane", ""),
        apptainer=section.get("apptainer", ""),
        keep_temporary=section.getboolean("keep_temporary", False),
        postgresql_url=os.environ.get("CTS_TEST_POSTGRESQL_URL", section.get("postgresql_url", "")),
        pyslurm_python=section.get("pyslurm_python", ""),
    )
