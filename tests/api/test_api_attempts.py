"""Wrong tokens: past 30 in a minute a place waits, at no cost to the daemon and to those who share its address."""

from __future__ import annotations

import pytest

from gateway.api.attempts import MOST, Attempts, network_of
from tests.api.gateway_fake import ME, FakeGateway


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_thirty_wrong_tokens_of_a_minute_are_looked_up_and_then_the_place_waits() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    for n in range(MOST):
        assert attempts.wait("192.0.2.7", f"wrong{n}") == 0
        attempts.failed("192.0.2.7", f"wrong{n}")
        clock.time += 1
    assert attempts.wait("192.0.2.7", "other") == 30
    assert attempts.wait("192.0.2.8", "other") == 0
    clock.time += 29.5
    assert attempts.wait("192.0.2.7", "other") == 1
    clock.time += 0.5
    assert attempts.wait("192.0.2.7", "other") == 0
    attempts.failed("192.0.2.7", "other")
    assert attempts.wait("192.0.2.7", "other") == 0


def test_a_token_that_worked_there_within_the_hour_still_does() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    attempts.worked("192.0.2.7", "good")

    def block() -> None:
        for _ in range(MOST):
            attempts.failed("192.0.2.7", "wrong")

    block()
    assert attempts.wait("192.0.2.7", "good") == 0
    assert attempts.wait("192.0.2.7", "wrong") > 0
    clock.time += 3600
    block()
    assert attempts.wait("192.0.2.7", "good") > 0
    attempts.worked("192.0.2.7", "good")
    attempts.failed("192.0.2.7", "good")  # it was revoked
    assert attempts.wait("192.0.2.7", "good") > 0


def test_a_token_that_worked_elsewhere_does_not_go_past_the_block() -> None:
    attempts = Attempts(Clock())
    attempts.worked("192.0.2.8", "good")
    for _ in range(MOST):
        attempts.failed("192.0.2.7", "wrong")
    assert attempts.wait("192.0.2.7", "good") > 0


def test_memory_is_bounded_whoever_tries() -> None:
    attempts = Attempts(Clock())
    for n in range(10_100):
        address = f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"
        attempts.failed(address, "x")
        attempts.worked(address, "x")
    assert len(attempts._failures) <= 10_000
    assert len(attempts._good) <= 10_000


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("unknown", "unknown"),
    ],
)
def test_a_party_is_an_address_of_ipv4_or_a_64_of_ipv6(address: str, network: str) -> None:
    assert network_of(address) == network


def test_over_tls_the_thirty_first_wrong_token_is_told_the_time_to_wait(fake: FakeGateway) -> None:
    good = fake.token()
    with fake.over_tcp(good) as mine, fake.over_tcp("wrong") as http:
        assert mine.get("/whoami").json()["user"] == ME
        assert [http.get("/whoami").status_code for _ in range(MOST)] == [401] * MOST
        answer = http.get("/whoami")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="cts"'
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        error = answer.json()["error"]
        assert error["appcode"] == 10000
        assert error["message"].startswith("There were too many wrong tokens from 127.0.0.1")
        assert mine.get("/whoami").status_code == 200
        assert http.get("/health").status_code == 200
    assert fake.http.get("/whoami").status_code == 200
    assert len(fake.audits("token.use")) == 1
    levels = [e["level"] for e in fake.log.events("api.request") if e["status"] == 401]
    assert levels == ["info"] * MOST + ["debug"]


def test_who_sends_no_token_or_a_wrong_header_does_not_count(fake: FakeGateway) -> None:
    with fake.over_tcp() as http:
        for _ in range(MOST + 5):
            assert http.get("/whoami").status_code == 401
            assert http.get("/whoami", headers={"Authorization": "Basic x"}).status_code == 401
        assert http.get("/whoami", headers={"Authorization": f"Bearer {fake.token()}"}).json() == {
            "user": ME,
            "roles": ["user"],
            "allowed_paths": [],
        }
