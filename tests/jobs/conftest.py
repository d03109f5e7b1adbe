"""The fixtures of these tests: a site with a fake Slurm, a real database and moto."""

from tests.daemon.fixtures import bucket, make_world, schema, store, world
from tests.s3.conftest import moto

__all__ = ["bucket", "make_world", "moto", "schema", "store", "world"]
