"""Approved images: looking them up, and approving them."""

from __future__ import annotations

from sqlmodel import Session

from gateway.errors import AppCode, GatewayError
from gateway.images.crane import Crane
from gateway.images.names import ImageName, parse_image
from gateway.store import images as store
from gateway.store.db import ConflictError, Database
from gateway.store.jobs import now
from gateway.store.tables import Image


class ImageRegistry:
    """The images that jobs may use."""

    def __init__(self, database: Database, crane: Crane) -> None:
        self._db = database
        self._crane = crane

    def everything(self) -> list[Image]:
        """List all approved images."""
        with self._db.read() as session:
            return store.everything(session)

    def get(self, text: str) -> Image:
        """Find an approved image by a name as users write it.

        Raises
        ------
        GatewayError
            IMAGE_NAME_PARSE, or NO_SUCH_IMAGE saying who can approve it.
        """
        name = parse_image(text)
        with self._db.read() as session:
            found = store.find(session, name.name, tag=name.tag, digest=name.digest)
        if found is None:
            raise GatewayError(
                AppCode.NO_SUCH_IMAGE,
                f"The image {name.reference} is not approved here; ask an admin to run: "
                f"cts admin image approve {name.reference}",
            )
        if name.tag is not None and name.digest is not None and found.tag != name.tag:
            raise GatewayError(
                AppCode.NO_SUCH_IMAGE,
                f"{name.name}@{name.digest} is approved with the tag {found.tag}, not {name.tag}.",
            )
        return found

    def approve(
        self,
        text: str,
        user: str,
        *,
        refdata_id: int | None = None,
        default_refdata_mount_point: str | None = None,
    ) -> Image:
        """Look an image up in its registry and record what it is now, and with which reference data it is used.

        Raises
        ------
        GatewayError
            IMAGE_NAME_PARSE, IMAGE_FETCH, IMAGE_NO_ENTRYPOINT, IMAGE_DIGEST_EXISTS, IMAGE_TAG_EXISTS.
        """
        name = parse_image(text)
        digest = self._digest(name)
        config = self._crane.config(name.pinned(digest))
        if not config.entrypoint:
            raise GatewayError(
                AppCode.IMAGE_NO_ENTRYPOINT,
                f"{name.reference} has no entrypoint, so there is no program to give a job's arguments to; "
                "build it with an ENTRYPOINT.",
            )
        row = Image(
            name=name.name,
            digest=digest,
            tag=name.tag,
            entrypoint=config.entrypoint,
            cmd=config.cmd,
            workdir=config.workdir,
            env=config.env,
            refdata_id=refdata_id,
            default_refdata_mount_point=default_refdata_mount_point,
            registered_by=user,
            registered_on=now(),
        )
        try:
            with self._db.write() as session:
                self._refuse_known(session, name, digest)
                session.add(row)
        except ConflictError:  # somebody approved it in the same moment
            with self._db.read() as session:
                self._refuse_known(session, name, digest)
            raise
        return row

    @staticmethod
    def _refuse_known(session: Session, name: ImageName, digest: str) -> None:
        if store.find(session, name.name, digest=digest) is not None:
            raise GatewayError(
                AppCode.IMAGE_DIGEST_EXISTS, f"{name.pinned(digest)} is approved already."
            )
        old = store.find(session, name.name, tag=name.tag) if name.tag is not None else None
        if old is not None:
            raise GatewayError(
                AppCode.IMAGE_TAG_EXISTS,
                f"{name.name}:{name.tag} is approved as {old.digest}, and in its registry it is {digest} now; "
                f"approve the new one by its digest: {name.pinned(digest)}",
            )

    def _digest(self, name: ImageName) -> str:
        """Ask what the name stands for now; a digest that was given must be that."""
        asked = f"{name.name}:{name.tag}" if name.tag is not None else name.reference
        found = self._crane.digest(asked)
        if name.digest is not None and found != name.digest:
            raise GatewayError(
                AppCode.IMAGE_FETCH,
                f"{asked} is {found} in its registry, not {name.digest} as given; approve {name.pinned(name.digest)} "
                f"without the tag, or {asked}@{found}.",
            )
        return found
