"""What users ask the admins for, images and reference data: asked, listed, approved or declined.

An approval is the admin's own, by the services that admins use without a request; the request only says who wanted it and why.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NoReturn

from sqlmodel import Session

from gateway import wire
from gateway.config import PathRule
from gateway.errors import AppCode, GatewayError
from gateway.images.names import parse_image
from gateway.jobs import access
from gateway.jobs.audit import audit, audited
from gateway.jobs.caller import Caller
from gateway.jobs.services import ImageService, RefdataService
from gateway.refdata.archives import kind_of
from gateway.s3.client import ObjectStore
from gateway.s3.paths import parse_object
from gateway.store import requests as store
from gateway.store.db import Database
from gateway.store.jobs import now
from gateway.store.tables import Request

MOST_PENDING = 20  # of one user
_ID = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_EXISTS = (AppCode.IMAGE_DIGEST_EXISTS, AppCode.REFDATA_EXISTS)


class RequestService:
    """The requests of a gateway."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        rules: Sequence[PathRule],
        images: ImageService,
        refdata: RefdataService,
    ) -> None:
        self._db = database
        self._objects = objects
        self._rules = rules
        self._images = images
        self._refdata = refdata

    def ask(
        self,
        caller: Caller,
        kind: Literal["image", "refdata"],
        target: str,
        *,
        unpack: bool,
        note: str | None,
    ) -> wire.Request:
        """Ask for an image, or an object as reference data. The same, while it is pending, is the same request.

        Raises
        ------
        GatewayError
            What is wrong with the name; IMAGE_DIGEST_EXISTS for an image that is approved, REFDATA_EXISTS for an object that
            is registered with just this content; RESOURCE_UNAVAILABLE past the number of requests of one user.
        """
        row = Request(
            kind=kind,
            target=self._image(target) if kind == "image" else self._object(caller, target, unpack),
            unpack=unpack and kind == "refdata",
            user=caller.user,
            note=note,
            state=store.PENDING,
            created=now(),
        )
        with self._db.write() as session:
            same = store.pending(session, row, caller.user)
            if same:
                return _view(same[0])
            if store.count_pending(session, caller.user) >= MOST_PENDING:
                raise GatewayError(
                    AppCode.RESOURCE_UNAVAILABLE,
                    f"{MOST_PENDING} requests of {caller.user} wait for an answer already; ask again when some have one: "
                    "cts requests",
                )
            session.add(row)
            session.flush()
            audit(session, caller, f"request.{kind}", f"{row.id} {row.target}", "ok")
        return _view(row)

    def _image(self, target: str) -> str:
        name = parse_image(target)
        try:
            self._images.get(target)
        except GatewayError as exc:
            if exc.code is not AppCode.NO_SUCH_IMAGE:
                raise
            return name.reference
        raise GatewayError(
            AppCode.IMAGE_DIGEST_EXISTS,
            f"The image {name.reference} is approved already; use it in a job as it is.",
        )

    def _object(self, caller: Caller, target: str, unpack: bool) -> str:
        path = parse_object(target)
        access.require(self._rules, caller, str(path), "read")
        kind_of(path.key, unpack=unpack)
        found = self._objects.inspect(path.bucket, path.key)
        for known in self._known(str(path)):
            if known.etag == found.etag and known.unpack == unpack:
                raise GatewayError(
                    AppCode.REFDATA_EXISTS,
                    f"{path} with just this content is registered already as {known.id}; ask an admin for an image that has it.",
                )
        return str(path)

    def _known(self, path: str) -> list[wire.Refdata]:
        try:
            return self._refdata.of_path(path)
        except GatewayError as exc:
            if exc.code is AppCode.NO_SUCH_REFDATA:
                return []
            raise

    def mine(self, caller: Caller, state: str | None) -> list[wire.Request]:
        """List the caller's requests, the newest first."""
        return self.everything(caller.user, state)

    def everything(self, user: str | None, state: str | None) -> list[wire.Request]:
        """List everybody's requests, or one user's, the newest first."""
        with self._db.read() as session:
            return [_view(row) for row in store.listed(session, user, state)]

    def get(self, caller: Caller, request_id: str) -> wire.Request:
        """Return a request; NOT_FOUND for one that is not the caller's, unless the caller is an admin."""
        with self._db.read() as session:
            row = _get(session, request_id)
        if row.user != caller.user and not caller.admin:
            _unknown(request_id)
        return _view(row)

    def approve(
        self,
        caller: Caller,
        request_id: str,
        *,
        answer: str | None,
        refdata_id: str | None = None,
        default_refdata_mount_point: str | None = None,
        urls: Sequence[str] | None = None,
        usage_notes: str | None = None,
        from_image: str | None = None,
        stage: bool = False,
    ) -> wire.Request:
        """Approve the image, or register the object, that a request is for; whoever else waits for the same is answered, too.

        Raises
        ------
        GatewayError
            NOT_FOUND; ILLEGAL_PARAMETER for one that is answered; and what the approval itself raises: then it stays pending.
        """
        with audited(self._db, caller, "request.approve", request_id):
            with self._db.read() as session:
                row = _pending(session, request_id)
            try:
                if row.kind == "image":
                    image = self._images.approve(
                        caller,
                        row.target,
                        refdata_id=refdata_id,
                        default_refdata_mount_point=default_refdata_mount_point,
                        urls=urls,
                        usage_notes=usage_notes,
                        from_image=from_image,
                        stage=stage,
                    )
                    result = f"{image.name}@{image.digest}"
                else:
                    result = self._refdata.register(
                        caller, row.target, crc64nvme=None, unpack=row.unpack, force=False
                    ).id
            except GatewayError as exc:
                found = self._there(row) if exc.code in _EXISTS else None
                if found is None:
                    raise
                result = found
            return self._answer(caller, row, "approved", answer, result)

    def _there(self, row: Request) -> str | None:
        """Return what a request is for, where that came to be there without it; None where what is there is something else."""
        if row.kind == "refdata":
            known = [each for each in self._known(row.target) if each.unpack == row.unpack]
            return known[-1].id if known else None
        try:
            image = self._images.get(row.target)
        except GatewayError:
            return None
        return f"{image.name}@{image.digest}"

    def decline(self, caller: Caller, request_id: str, reason: str) -> wire.Request:
        """Say no, and why; to whoever else waits for the same, too.

        Raises
        ------
        GatewayError
            NOT_FOUND; ILLEGAL_PARAMETER for one that is answered.
        """
        with audited(self._db, caller, "request.decline", request_id):
            with self._db.read() as session:
                row = _pending(session, request_id)
            return self._answer(caller, row, "declined", reason, None)

    def _answer(
        self, caller: Caller, row: Request, state: str, answer: str | None, result: str | None
    ) -> wire.Request:
        with self._db.write() as session:
            _pending(session, str(row.id))  # nobody was faster
            for each in store.pending(session, row):
                each.state, each.answer, each.result = state, answer, result
                each.answered, each.answered_by = now(), caller.user
                session.add(each)
            found = _get(session, str(row.id))
        return _view(found)


def _get(session: Session, text: str) -> Request:
    found = store.get(session, int(text)) if _ID.fullmatch(text) else None
    if found is None:
        _unknown(text)
    return found


def _pending(session: Session, text: str) -> Request:
    row = _get(session, text)
    if row.state != store.PENDING:
        raise GatewayError(
            AppCode.ILLEGAL_PARAMETER,
            f"The request {row.id} was {row.state} by {row.answered_by}; its user may ask again.",
        )
    return row


def _unknown(text: str) -> NoReturn:
    raise GatewayError(
        AppCode.NOT_FOUND,
        f"There is no request {text[:100]!r} of yours; list yours with: cts requests",
    )


def _view(row: Request) -> wire.Request:
    fields = set(wire.Request.model_fields) - {"id"}
    return wire.Request(id=str(row.id), **{name: getattr(row, name) for name in fields})
