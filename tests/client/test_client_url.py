"""The client over TLS: the same calls, a token of its own, and no plain line."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gateway.client import Client, CtsError, GatewayUnreachableError
from tests.api.gateway_fake import JOB, ME, FakeGateway, until


def remote(fake: FakeGateway, token: str | None = None) -> Client:
    """A client over TLS."""
    return Client(url=fake.url, token=token, ca_file=str(fake.authority.ca))


def test_all_is_as_over_the_socket(fake: FakeGateway) -> None:
    with remote(fake, fake.token()) as client:
        assert client.whoami().user == ME
        job = client.submit(JOB)
        fake.jobs.rows[int(job)].logs[0, "stdout"] = b"hello\n"
        fake.jobs.rows[int(job)].to("complete")
        assert client.wait(job).state == "complete"
        assert b"".join(client.follow_log(job, 0)) == b"hello\n"
        assert [t.user for t in client.tokens()] == [ME]


def test_tokens_are_made_over_the_socket_alone(fake: FakeGateway) -> None:
    with Client(str(fake.socket)) as local:
        made = local.create_token(name="script", expires_in=600)
    with remote(fake, made.token) as client:
        assert client.tokens()[0].name == "script"
        with pytest.raises(CtsError, match="cannot make tokens") as caught:
            client.create_token()
        assert (caught.value.status, caught.value.appcode) == (403, 20000)
        client.revoke_token(made.id)
        with pytest.raises(CtsError, match="was revoked") as caught:
            client.whoami()
        assert (caught.value.status, caught.value.appcode) == (401, 10020)


def test_the_service_itself_answers_without_a_token(fake: FakeGateway) -> None:
    with remote(fake) as client:
        assert client.root().service_name == "CDM Task Service"
        with pytest.raises(CtsError) as caught:
            client.whoami()
        assert caught.value.appcode == 10010


@pytest.mark.parametrize("url", ["http://gateway.example", "gateway.example:8443", "ftp://x", ""])
def test_a_url_that_is_no_https_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(ValueError, match="no https:// URL"):
        Client(url=url, token="x")


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "\u00e9", "a\n"])
def test_a_token_that_could_change_the_request_is_refused_and_not_repeated(
    fake: FakeGateway, token: str
) -> None:
    with pytest.raises(ValueError, match="the token is no token") as caught:
        remote(fake, token)
    assert not token.strip() or token not in str(caught.value)


def test_a_gateway_whose_certificate_is_not_trusted_gets_no_token(fake: FakeGateway) -> None:
    with (
        Client(url=fake.url, token=fake.token()) as client,
        pytest.raises(GatewayUnreachableError, match=r"cannot be trusted .*--ca-file") as caught,
    ):
        client.whoami()
    assert not caught.value.sent
    assert fake.log.events("api.request") == []


def test_a_ca_file_that_cannot_be_used_is_named(fake: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for path in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(ValueError, match=str(path)):
            Client(url=fake.url, ca_file=str(path))


@pytest.mark.parametrize(
    "token_id", ["", "x", "../jobs", "0" * 11, "0" * 13, "A" * 12, "0" * 12 + "\n"]
)
def test_an_id_of_a_token_that_is_none_is_never_sent(fake: FakeGateway, token_id: str) -> None:
    with Client(str(fake.socket)) as client, pytest.raises(CtsError) as caught:
        client.revoke_token(token_id)
    assert caught.value.appcode == 40000
    assert fake.log.events("api.request") == []


def test_no_token_shows_in_what_python_prints_of_a_client(fake: FakeGateway) -> None:
    text = fake.token()
    with remote(fake, text) as client:
        shown = f"{client!r} {vars(client)!r} {vars(client._http)!r} {client._http._http.headers!r}"
    assert text not in shown


def test_waiting_outlives_a_restart_over_tls_too(fake: FakeGateway) -> None:
    job = str(fake.jobs.add(phase="run"))
    ended: list[str] = []
    client = remote(fake, fake.token())
    waiter = threading.Thread(target=lambda: ended.append(client.wait(job).state))
    waiter.start()
    until(lambda: fake.jobs.asked[1] > 0)
    fake.stop()
    fake.jobs.rows[1].to("complete")
    fake.start()
    waiter.join(30)
    client.close()
    assert ended == ["complete"]
