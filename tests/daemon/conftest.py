"""The fixtures of these tests: a site with a fake Slurm, a real database and moto."""

from tests.daemon.fixtures import agent, bucket, database, make_world, store, world
from tests.s3.conftest import moto

__all__ = ["agent", "bucket", "database", "make_world", "moto", "store", "world"]
