"""The fake gateway, as a fixture: `fake` for a user, `fake_admin` where the caller is an admin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.gateway_fake import FakeGateway, serving


@pytest.fixture
def fake() -> Iterator[FakeGateway]:
    """A served gateway to which the test is an ordinary user."""
    with serving() as gateway:
        yield gateway


@pytest.fixture
def fake_admin() -> Iterator[FakeGateway]:
    """A served gateway to which the test is an admin."""
    with serving(admin=True) as gateway:
        yield gateway
