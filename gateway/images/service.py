"""Approved images: looking them up, approving and deleting them, and what one is on a site's platform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlmodel import Session

from gateway.errors import AppCode, ErrorDetail, GatewayError
from gateway.images.crane import Crane, ImageConfig
from gateway.images.names import ImageName, parse_image
from gateway.images.platforms import best
from gateway.store import images as store
from gateway.store.db import ConflictError, Database
from gateway.store.jobs import now
from gateway.store.tables import Image

PLATFORM = "linux/amd64"


@dataclass(frozen=True)
class Notes:
    """What an admin says of an image; None for what is not said."""

    urls: Sequence[str] | None = None
    usage_notes: str | None = None
    from_image: str | None = None
    refdata_id: int | None = None
    default_refdata_mount_point: str | None = None


@dataclass(frozen=True)
class Variant:
    """What an image is on one platform; `digest` is that of what runs there."""

    platform: str
    digest: str
    config: ImageConfig


class ImageRegistry:
    """The images that jobs may use. `sites` are the names of all sites with the platform of each."""

    def __init__(
        self, database: Database, crane: Crane, sites: Mapping[str, str] | None = None
    ) -> None:
        self._db = database
        self._crane = crane
        self._sites = dict(sites or {})

    def everything(self) -> list[Image]:
        """List all approved images by name."""
        with self._db.read() as session:
            return store.everything(session)

    def get(self, text: str) -> Image:
        """Find an approved image by a name as users write it.

        Raises
        ------
        GatewayError
            IMAGE_NAME_PARSE, or NO_SUCH_IMAGE saying who can approve it.
        """
        with self._db.read() as session:
            return _get(session, text)

    def variant(self, image: Image, site: str) -> Variant:
        """Return what an image is on the platform of a site.

        Raises
        ------
        GatewayError
            ILLEGAL_PARAMETER when it is not for that platform, with those that it has; IMAGE_FETCH when its configuration
            there, which nobody needed before, cannot be had.
        """
        wanted = self._sites.get(site, PLATFORM)
        platform = best(image.platforms, wanted)
        if platform is None:
            text = (
                f"the image {image.name}@{image.digest} has nothing for {wanted}, which the nodes of {site} run, but for "
                f"{', '.join(image.platforms)}; build it for {wanted}, or use another site"
            )
            detail = ErrorDetail(("image",), text)
            raise GatewayError(AppCode.ILLEGAL_PARAMETER, f"image: {text}.", (detail,))
        known = image.platforms[platform]
        if known["config"] is not None:
            return Variant(platform, known["digest"], ImageConfig(**known["config"]))
        config = self._configuration(f"{image.name}@{known['digest']}")
        with self._db.write() as session:
            stored = session.get(Image, image.id)
            if stored is not None and stored.digest == image.digest:
                entry = {"digest": known["digest"], "config": asdict(config)}
                stored.platforms = {**stored.platforms, platform: entry}
                session.add(stored)
        return Variant(platform, known["digest"], config)

    def approve(self, text: str, user: str, notes: Notes | None = None) -> Image:
        """Look an image up in its registry and record what it is now, with what an admin says of it.

        Raises
        ------
        GatewayError
            IMAGE_NAME_PARSE, IMAGE_FETCH, IMAGE_NO_ENTRYPOINT, IMAGE_DIGEST_EXISTS, IMAGE_TAG_EXISTS; NO_SUCH_IMAGE for one
            to take notes from.
        """
        notes = self._taken_over(notes or Notes())
        name = parse_image(text)
        digest = self._digest(name)
        with self._db.read() as session:
            self._refuse_known(session, name, digest)
        platforms = self._look_up(name, digest)
        shown = self._shown(platforms)
        row = Image(
            name=name.name,
            digest=digest,
            tag=name.tag,
            entrypoint=shown.entrypoint,
            cmd=shown.cmd,
            workdir=shown.workdir,
            env=shown.env,
            platforms=platforms,
            urls=list(notes.urls or ()),
            usage_notes=notes.usage_notes,
            refdata_id=notes.refdata_id,
            default_refdata_mount_point=notes.default_refdata_mount_point,
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

    def delete(self, text: str) -> Image:
        """Forget an image: its tag and digest are free again. Jobs that have it keep what it was.

        Raises
        ------
        GatewayError
            IMAGE_NAME_PARSE, NO_SUCH_IMAGE.
        """
        with self._db.write() as session:
            found = _get(session, text)
            store.remove(session, found)
        return found

    def _taken_over(self, notes: Notes) -> Notes:
        """Fill in from another image what is not said."""
        if notes.from_image is None:
            return notes
        try:
            other = self.get(notes.from_image)
        except GatewayError as exc:
            detail = ErrorDetail(("from_image",), exc.message)
            raise GatewayError(exc.code, f"from_image: {exc.message}", (detail,)) from exc
        refdata = notes.refdata_id if notes.refdata_id is not None else other.refdata_id
        place = notes.default_refdata_mount_point or other.default_refdata_mount_point
        return Notes(
            urls=notes.urls if notes.urls is not None else other.urls,
            usage_notes=notes.usage_notes if notes.usage_notes is not None else other.usage_notes,
            refdata_id=refdata,
            default_refdata_mount_point=place if refdata is not None else None,
        )

    def _look_up(self, name: ImageName, digest: str) -> dict[str, Any]:
        """Return the platforms of an image; the configuration of each that a site has, or else of the first."""
        pinned = name.pinned(digest)
        found = self._crane.platforms(pinned)
        if found is None:
            config = self._configuration(pinned)
            return {config.platform: {"digest": digest, "config": asdict(config)}}
        wanted = {best(found, site) for site in (self._sites.values() or (PLATFORM,))} - {None}
        return {
            platform: {
                "digest": manifest,
                "config": asdict(self._configuration(name.pinned(manifest)))
                if platform in (wanted or {next(iter(found))})
                else None,
            }
            for platform, manifest in sorted(found.items())
        }

    def _shown(self, platforms: Mapping[str, Any]) -> ImageConfig:
        """Return the configuration that stands for the image: that of the first site, where it is for one."""
        for site in self._sites.values() or (PLATFORM,):
            platform = best(platforms, site)
            if platform is not None:
                return ImageConfig(**platforms[platform]["config"])
        return next(ImageConfig(**p["config"]) for p in platforms.values() if p["config"])

    def _configuration(self, reference: str) -> ImageConfig:
        config = self._crane.config(reference)
        if not config.entrypoint:
            raise GatewayError(
                AppCode.IMAGE_NO_ENTRYPOINT,
                f"{reference} has no entrypoint, so there is no program to give a job's arguments to; "
                "build it with an ENTRYPOINT.",
            )
        return config

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
                f"approve the new one by its digest, {name.pinned(digest)}, or first delete the old one: "
                f"cts admin image delete {name.name}:{name.tag}",
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


def _get(session: Session, text: str) -> Image:
    name = parse_image(text)
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
