"""The fake gateway as fixtures: `fake` for a user, `fake_admin` where the caller is an admin; as new for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.gateway_fake import FakeGateway, serving


@pytest.fixture(scope="session")
def served() -> Iterator[FakeGateway]:
    """One server for all tests that are an ordinary user."""
    with serving() as gateway:
        yield gateway


@pytest.fixture(scope="session")
def served_admin() -> Iterator[FakeGateway]:
    """One server for all tests that are an admin."""
    with serving(admin=True) as gateway:
        yield gateway


@pytest.fixture
def fake(served: FakeGateway) -> FakeGateway:
    """A gateway to which the test is an ordinary user."""
    served.reset()
    return served


@pytest.fixture
def fake_admin(served_admin: FakeGateway) -> FakeGateway:
    """A gateway to which the test is an admin."""
    served_admin.reset()
    return served_admin
