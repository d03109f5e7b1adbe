"""Bearer tokens: made, listed, revoked, and checked at each request that comes with one.

A token is `cts_<id>_<secret>`. The id is public: it finds the row, stands in lists and logs, and tells nothing. The secret
has 256 bits from the system's random source, and of it a SHA-256 is stored. A slow hash with a salt, as passwords
need it, would add nothing: there is no dictionary of such secrets, and nobody goes through 2^256 of them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal, NoReturn

import structlog

from gateway import wire
from gateway.errors import AppCode, GatewayError, StoreError
from gateway.jobs.audit import audit
from gateway.jobs.caller import Caller
from gateway.jobs.refusals import Refusals
from gateway.jobs.services import TokenUse
from gateway.store import tokens as store
from gateway.store.db import Database
from gateway.store.jobs import now
from gateway.store.tables import Token

DEFAULT_DAYS = 30
MOST = 100  # tokens of one user that work
_KEPT = timedelta(days=90)  # one that ended stays in the list so long
_NOTED = timedelta(minutes=1)  # how exactly the last use is known
_FORM = re.compile(r"cts_([0-9a-f]{12})_[0-9a-f]{64}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}", re.ASCII)
_NOBODY = "0" * 64  # compared where there is no such token, so that its absence takes no other time

log = structlog.get_logger()


class Tokens:
    """The tokens of a gateway.

    Parameters
    ----------
    max_days
        The longest that a token may work, days.
    clock
        Tells the time, UTC.
    """

    def __init__(
        self, database: Database, max_days: int, clock: Callable[[], datetime] = now
    ) -> None:
        self._db = database
        self._max = timedelta(days=max_days)
        self._clock = clock
        self._refusals = Refusals(clock)

    def create(
        self, caller: Caller, *, name: str | None, expires_in: int | None, user: str | None = None
    ) -> wire.NewToken:
        """Make a token; what is returned is the only place where it stands.

        Parameters
        ----------
        expires_in
            Seconds; None for 30 days, or for the longest allowed where that is less.
        user
            Whose it shall be; None for the caller's.

        Raises
        ------
        GatewayError
            UNAUTHORIZED for a caller who came with a token: a leaked one could else live for ever. ILLEGAL_PARAMETER
            for an expiry beyond the limit, INVALID_USER, RESOURCE_UNAVAILABLE past the number of tokens of one user.
        """
        owner = caller.user if user is None else user
        try:
            row, text = self._made(caller, owner, name, expires_in)
        except GatewayError as exc:
            self._audit_refusal(
                caller.user, caller.origin, caller.user, "token.create", owner, exc.message
            )
            raise
        return wire.NewToken(**_view(row, self._clock()).model_dump(), token=text)

    def _made(
        self, caller: Caller, owner: str, name: str | None, expires_in: int | None
    ) -> tuple[Token, str]:
        if caller.token is not None:
            raise GatewayError(
                AppCode.UNAUTHORIZED,
                "A token cannot make tokens; make one on the gateway's own machine with: cts token create",
            )
        if not _USER.fullmatch(owner) and owner != caller.user:
            raise GatewayError(
                AppCode.INVALID_USER,
                f"{owner[:100]!r} is no name of a user; it has letters, digits and _ . @ - only, at most 64.",
            )
        time = self._clock()
        public, secret = secrets.token_hex(6), secrets.token_hex(32)
        text = f"cts_{public}_{secret}"
        row = Token(
            id=public,
            user=owner,
            name=name,
            digest=_digest(text),
            created=time,
            created_by=caller.user,
            expires=time + self._lifetime(expires_in),
        )
        with self._db.write() as session:
            store.forget(session, owner, time - _KEPT)
            if store.count_live(session, owner, time) >= MOST:
                raise GatewayError(
                    AppCode.RESOURCE_UNAVAILABLE,
                    f"{owner} has {MOST} tokens that work; revoke one that is not needed: cts token list",
                )
            session.add(row)
            audit(session, caller, "token.create", f"{public} of {owner}", "ok")
        return row, text

    def _lifetime(self, seconds: int | None) -> timedelta:
        if seconds is None:
            return min(timedelta(days=DEFAULT_DAYS), self._max)
        if seconds > self._max.total_seconds():
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"expires_in: a token works for {self._max.days} days at most here; ask for {int(self._max.total_seconds())} s or less.",
            )
        return timedelta(seconds=seconds)

    def mine(self, caller: Caller) -> list[wire.Token]:
        """List the caller's tokens, the newest first; those that ended stay in it for 90 days at least."""
        return self.everything(caller.user)

    def everything(self, user: str | None) -> list[wire.Token]:
        """List everybody's tokens, or one user's, the newest first."""
        time = self._clock()
        with self._db.read() as session:
            return [_view(row, time) for row in store.of_user(session, user)]

    def revoke(self, caller: Caller, token_id: str, *, anybodys: bool = False) -> None:
        """End a token at once. One that is revoked already is no error.

        Raises
        ------
        GatewayError
            NOT_FOUND where there is none of that id, or it is another user's and may not be anybody's.
        """
        with self._db.write() as session:
            row = store.get(session, token_id) if _ID.fullmatch(token_id) else None
            if row is None or (row.user != caller.user and not anybodys):
                hint = "cts admin token list" if anybodys else "cts token list"
                whose = "" if anybodys else " of yours"
                raise GatewayError(
                    AppCode.NOT_FOUND, f"There is no such token{whose}; list them with: {hint}"
                )
            if row.revoked is None:
                row.revoked, row.revoked_by = self._clock(), caller.user
                session.add(row)
                audit(session, caller, "token.revoke", f"{row.id} of {row.user}", "ok")

    def check(self, text: str, origin: str) -> TokenUse:
        """Find out whose a token is, and note its use. It works from one request to the next: nothing of it is kept here.

        Raises
        ------
        GatewayError
            INVALID_TOKEN. Only who has the whole token is told that it expired or was revoked; of any other it is
            not told whether there is one of that id.
        """
        match = _FORM.fullmatch(text)
        row = None
        if match is not None:
            with self._db.read() as session:
                row = store.get(session, match[1])
        right = hmac.compare_digest(_NOBODY if row is None else row.digest, _digest(text))
        if row is None or not right:
            self._refuse(origin, "-", "unknown", "The token is not valid")
        time = self._clock()
        if row.revoked is not None:
            self._refuse(origin, row.user, row.id, f"The token {row.id} was revoked")
        if row.expires <= time:
            self._refuse(
                origin, row.user, row.id, f"The token {row.id} expired on {row.expires:%Y-%m-%d}"
            )
        if row.last_used is None or time - row.last_used >= _NOTED:
            self._note(row.id, time)
        return TokenUse(row.user, row.id)

    def _note(self, token_id: str, time: datetime) -> None:
        try:
            with self._db.write() as session:
                store.used(session, token_id, time, time - _NOTED)
        except StoreError as exc:  # the request itself may only read, and goes on
            log.error("token.note", token=token_id, error=str(exc))

    def _refuse(self, origin: str, user: str, target: str, message: str) -> NoReturn:
        self._audit_refusal(origin, origin, user, "token.use", target, message)
        raise GatewayError(
            AppCode.INVALID_TOKEN,
            f"{message}; make a new one on the gateway's own machine with: cts token create",
        )

    def _audit_refusal(
        self, place: str, origin: str, user: str, action: str, target: str, result: str
    ) -> None:
        """Note a refusal, as far as they are not too many: strangers must not fill the disk."""
        left_out = self._refusals.admit(place, action)
        if left_out is None:
            return
        more = f" ({left_out} more were not written down)" if left_out else ""
        asked = Caller(user, None, frozenset(), False, origin)
        try:
            with self._db.write() as session:
                audit(session, asked, action, target, result + more)
        except StoreError as exc:  # the caller is refused all the same
            log.error("token.audit", origin=origin, error=str(exc))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _view(row: Token, time: datetime) -> wire.Token:
    state: Literal["active", "expired", "revoked"]
    state = "revoked" if row.revoked is not None else "expired" if row.expires <= time else "active"
    return wire.Token(
        id=row.id,
        user=row.user,
        name=row.name,
        state=state,
        created=row.created,
        created_by=row.created_by,
        expires=row.expires,
        last_used=row.last_used,
        revoked=row.revoked,
        revoked_by=row.revoked_by,
    )
