"""The fixtures of these tests: a site with a fake Slurm, a real database and moto; and a gateway that is served."""

from tests.api.fixtures import fake, fake_admin, served, served_admin
from tests.daemon.fixtures import agent, bucket, database, make_world, store, world
from tests.s3.conftest import moto

__all__ = [
    "agent",
    "bucket",
    "database",
    "fake",
    "fake_admin",
    "make_world",
    "moto",
    "served",
    "served_admin",
    "store",
    "world",
]
