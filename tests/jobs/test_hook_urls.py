"""Where webhooks may point, and what their secrets are."""

from __future__ import annotations

import pytest

from gateway.errors import AppCode, GatewayError
from gateway.jobs.hook_secrets import key_of, new_secret, signature
from gateway.jobs.hook_urls import Target, target_of

ALLOWED = ("hooks.example.org", "Other.example.org:8443", "127.0.0.1:*", "[::1]:8080")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hooks.example.org", Target(True, "hooks.example.org", 443, "/")),
        ("https://HOOKS.example.org./a/b?c=d", Target(True, "hooks.example.org", 443, "/a/b?c=d")),
        ("https://hooks.example.org:443/", Target(True, "hooks.example.org", 443, "/")),
        ("https://other.example.org:8443/x", Target(True, "other.example.org", 8443, "/x")),
        ("https://127.0.0.1:1234/", Target(True, "127.0.0.1", 1234, "/")),
        ("https://[::1]:8080/", Target(True, "::1", 8080, "/")),
    ],
)
def test_a_url_at_a_host_that_is_named_is_taken(url: str, target: Target) -> None:
    assert target_of(url, ALLOWED, allow_http=False) == target


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://hooks.example.org/", "begins with http"),
        ("ftp://hooks.example.org/", "begins with ftp"),
        ("hooks.example.org", "begins with no scheme"),
        ("file:///etc/passwd", "begins with file"),
        ("https:///x", "names no host"),
        ("https://hooks.example.org:8443/", "hooks.example.org:8443, which is not allowed"),
        ("https://other.example.org/", "other.example.org:443, which is not allowed"),
        ("https://evil.org/", "not allowed"),
        ("https://hooks.example.org.evil.org/", "not allowed"),
        ("https://hooks.example.org@evil.org/", "a name or a password"),
        ("https://evil.org#@hooks.example.org/", "a fragment"),
        ("https://evil.org\\@hooks.example.org/", "characters that no URL has"),
        ("https://hooks.example.org/\r\nHost: x", "characters that no URL has"),
        ("https://hooks.example.org /", "characters that no URL has"),
        ("https://2130706433/", "not allowed"),
        ("https://127.1/", "not allowed"),
        ("https://169.254.169.254/", "not allowed"),
        ("https://hooks.example.org:99999/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://hooks.example.org/" + "x" * 2000, "characters that no URL has"),
    ],
)
def test_any_other_is_refused_with_the_rule(url: str, says: str) -> None:
    with pytest.raises(GatewayError) as caught:
        target_of(url, ALLOWED, allow_http=False)
    assert caught.value.code is AppCode.ILLEGAL_PARAMETER
    assert says in caught.value.message


def test_without_hosts_none_is_taken_and_without_tls_only_where_that_is_said() -> None:
    with pytest.raises(GatewayError, match="not allowed"):
        target_of("https://hooks.example.org/", (), allow_http=False)
    plain = target_of("http://127.0.0.1:81/x", ALLOWED, allow_http=True)
    assert plain == Target(False, "127.0.0.1", 81, "/x")


def test_a_secret_is_a_key_of_256_bits_and_what_is_none_is_never_repeated() -> None:
    secret = new_secret()
    assert len(key_of(secret)) == 32
    assert new_secret() != secret
    for bad in ("", "x", secret.removeprefix("whsec_"), "whsec_", "whsec_c2hvcnQ=", "whsec_!!!"):
        with pytest.raises(GatewayError) as caught:
            key_of(bad)
        assert "whsec_ and 24 to 64" in caught.value.message
        assert bad in ("", "x") or bad not in caught.value.message.replace("whsec_ and", "")


def test_the_signature_is_that_of_the_standard() -> None:
    # The example of the specification of Standard Webhooks.
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    wanted = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == wanted
