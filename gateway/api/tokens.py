"""Handlers of /tokens: the caller's own, and for admins everybody's."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from gateway import wire
from gateway.api.params import caller_of, services_of

TokenId = Annotated[str, Path(description="The public part of a token.", examples=["1f00a4c79be2"])]


class TokenInput(BaseModel):
    """The optional body of POST /tokens."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "laptop"}})

    name: Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")] | None = None
    expires_in: Annotated[int, Field(ge=60, description="Seconds; 30 days without it.")] | None = (
        None
    )


class TokenInputOfUser(TokenInput):
    """The body of POST /admin/tokens."""

    model_config = ConfigDict(json_schema_extra={"example": {"user": "alice", "name": "laptop"}})

    user: Annotated[str, Field(description="Whose it shall be.")]


def create(request: Request, wanted: TokenInput | None = None) -> wire.NewToken:
    """Make a token for the caller: told this once. On the Unix socket alone: a token makes no tokens."""
    asked = wanted or TokenInput()
    return services_of(request).tokens.create(
        caller_of(request), name=asked.name, expires_in=asked.expires_in
    )


def mine(request: Request) -> wire.Tokens:
    """List the caller's tokens, the newest first, also those that do not work any more."""
    return wire.Tokens(tokens=services_of(request).tokens.mine(caller_of(request)))


def revoke(request: Request, token_id: TokenId) -> Response:
    """End one of the caller's tokens at once. Asking again is no error."""
    services_of(request).tokens.revoke(caller_of(request), token_id)
    return Response(status_code=204)


def create_for(request: Request, wanted: TokenInputOfUser) -> wire.NewToken:
    """Make a token for any user, also one that this machine does not know; on the Unix socket alone."""
    return services_of(request).tokens.create(
        caller_of(request), name=wanted.name, expires_in=wanted.expires_in, user=wanted.user
    )


def everybodys(request: Request, user: str | None = None) -> wire.Tokens:
    """List everybody's tokens, or one user's."""
    return wire.Tokens(tokens=services_of(request).tokens.everything(user))


def revoke_anybodys(request: Request, token_id: TokenId) -> Response:
    """End anybody's token at once."""
    services_of(request).tokens.revoke(caller_of(request), token_id, anybodys=True)
    return Response(status_code=204)
