"""The fixtures of these tests: the fake gateway, served on a socket; moto behind it where files are moved."""

from tests.api.fixtures import fake, fake_admin, served, served_admin
from tests.s3.conftest import moto

__all__ = ["fake", "fake_admin", "moto", "served", "served_admin"]
