"""cts: a batch gateway that runs container jobs from S3 to S3 on Slurm clusters."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cts-gateway")
except PackageNotFoundError:  # running from a checkout that is not installed
    __version__ = "0+unknown"
