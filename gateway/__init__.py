"""cts: a batch gateway that runs container jobs from S3 to S3 on Slurm clusters."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

try:
    __version__ = version("cts-gateway")
except PackageNotFoundError:  # running from a checkout that is not installed
    __version__ = "0+unknown"


def commit() -> str:
    """Return the git commit that this package was built from (deploy/build_hook.py); empty where it is not known."""
    try:
        return (Path(__file__).parent / "commit.txt").read_text(encoding="ascii").strip()
    except OSError:
        return ""
