"""Calls about bearer tokens."""

from __future__ import annotations

from gateway import wire
from gateway.client import paths
from gateway.client.calls import Calls


class TokenCalls(Calls):
    """Tokens of the caller; for admins those of others."""

    def create_token(
        self, *, name: str | None = None, expires_in: int | None = None, user: str | None = None
    ) -> wire.NewToken:
        """Make a token that works for `expires_in` seconds; on the Unix socket alone. `user` is for admins.

        Its `token` is told this once. Without `expires_in` it works for 30 days.
        """
        wanted = {"name": name, "expires_in": expires_in, "user": user}
        given = {key: value for key, value in wanted.items() if value is not None}
        path = "/tokens" if user is None else "/admin/tokens"
        return self._http.read(wire.NewToken, self._http.call("POST", path, json=given))

    def tokens(self, *, user: str | None = None, everyone: bool = False) -> list[wire.Token]:
        """Return the caller's tokens, the newest first; `user` and `everyone` are for admins."""
        path = "/admin/tokens" if everyone or user is not None else "/tokens"
        return self._http.get(wire.Tokens, path, user=user).tokens

    def revoke_token(self, token_id: str, *, anybodys: bool = False) -> None:
        """End a token at once; `anybodys` is for admins. Takes the id, or the whole token, of which the id alone is sent."""
        path = "/admin/tokens" if anybodys else "/tokens"
        self._http.call("DELETE", f"{path}/{paths.token_id(token_id)}")
