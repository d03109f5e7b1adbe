"""The fixtures of these tests: the fake gateway, served on a socket."""

from tests.api.fixtures import fake, fake_admin, served, served_admin

__all__ = ["fake", "fake_admin", "served", "served_admin"]
