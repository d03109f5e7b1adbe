"""Registering reference data, looking it up, and what admins do with it at a site. The daemon's loop does the work."""

from __future__ import annotations

import re
from collections.abc import Collection

from sqlmodel import Session

from gateway.errors import AppCode, GatewayError
from gateway.refdata.archives import kind_of
from gateway.s3.client import ObjectInfo, ObjectStore
from gateway.s3.paths import S3Path, parse_object
from gateway.store import refdata as store
from gateway.store.db import ConflictError, Database
from gateway.store.jobs import now
from gateway.store.tables import Refdata, RefdataSite

_ID = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


class RefdataRegistry:
    """The reference data that images may have. `sites` are the names of all that are configured."""

    def __init__(self, database: Database, objects: ObjectStore, sites: Collection[str]) -> None:
        self._db = database
        self._objects = objects
        self._sites = sorted(sites)

    def everything(self) -> list[Refdata]:
        """List all."""
        with self._db.read() as session:
            return store.everything(session)

    def get(self, text: str) -> Refdata:
        """Find one by its id.

        Raises
        ------
        GatewayError
            NO_SUCH_REFDATA.
        """
        with self._db.read() as session:
            return _get(session, text)

    def of_image(self, text: str | None, mount_point: str | None) -> int | None:
        """Return the id of the reference data that an image is to be approved with.

        Raises
        ------
        GatewayError
            NO_SUCH_REFDATA; MISSING_PARAMETER for a place without data.
        """
        if text is not None:
            return self.get(text).id
        if mount_point is not None:
            raise GatewayError(
                AppCode.MISSING_PARAMETER,
                "default_refdata_mount_point is where containers see reference data; give refdata_id as well.",
            )
        return None

    def of_path(self, text: str) -> list[Refdata]:
        """Return the registrations of an object, oldest first.

        Raises
        ------
        GatewayError
            ILLEGAL_S3_PATH; NO_SUCH_REFDATA where there is none.
        """
        path = parse_object(text)
        with self._db.read() as session:
            found = store.of_object(session, path.bucket, path.key)
        if not found:
            raise GatewayError(
                AppCode.NO_SUCH_REFDATA,
                f"{path} is not registered as reference data; ask an admin to run: cts admin refdata register {path}",
            )
        return found

    def register(
        self, text: str, user: str, *, crc64nvme: str | None, unpack: bool, force: bool
    ) -> Refdata:
        """Look at an object and record it as it is now; each active site stages it then.

        Raises
        ------
        GatewayError
            ILLEGAL_S3_PATH, ILLEGAL_PARAMETER for an archive of no known kind, CHECKSUM_MISMATCH, REFDATA_EXISTS unless
            it is forced, and what `ObjectStore.inspect` raises.
        """
        path = parse_object(text)
        kind_of(path.key, unpack=unpack)
        info = self._objects.inspect(path.bucket, path.key)
        if None not in (crc64nvme, info.crc64nvme) and crc64nvme != info.crc64nvme:
            raise GatewayError(
                AppCode.CHECKSUM_MISMATCH,
                f"{path}: the request gives the CRC64NVME {crc64nvme}, S3 has {info.crc64nvme}.",
            )
        try:
            with self._db.write() as session:
                row = _new(session, path, info, user, crc64nvme, unpack=unpack, force=force)
                session.add(row)
                session.flush()
        except ConflictError as exc:  # somebody registered it in the same moment
            raise _exists(path, "") from exc
        return row

    def recover(self, text: str, site: str) -> None:
        """Have a site stage data again after an error.

        Raises
        ------
        GatewayError
            NO_SUCH_REFDATA, ILLEGAL_PARAMETER for a site that there is not, INVALID_REFDATA_STATE.
        """
        with self._db.write() as session:
            row = self._at(session, text, site)
            if row.state != "error":
                raise GatewayError(
                    AppCode.INVALID_REFDATA_STATE,
                    f"Reference data {row.refdata_id} is {row.state} at the site {site}, and only what failed or was "
                    "cleaned can be staged again.",
                )
            row.job_id, row.unpacked_bytes = None, None
            store.move(session, row, "created")

    def clean(self, text: str, site: str, user: str, *, force: bool) -> None:
        """Have data removed from a site's disk.

        Raises
        ------
        GatewayError
            As `recover`; INVALID_REFDATA_STATE also while jobs need it, unless it is forced.
        """
        with self._db.write() as session:
            row = self._at(session, text, site)
            if row.state in store.UNDER_WAY:
                job = f"; cancel its job first: cts cancel {row.job_id}" if row.job_id else ""
                raise GatewayError(
                    AppCode.INVALID_REFDATA_STATE,
                    f"Reference data {row.refdata_id} is being staged at the site {site} ({row.state}){job}.",
                )
            users = store.users_of(session, row.refdata_id, site)
            if users and not force:
                raise GatewayError(
                    AppCode.INVALID_REFDATA_STATE,
                    f"Reference data {row.refdata_id} is needed at the site {site} by {len(users)} jobs that have not ended, "
                    f"the first is {users[0]}; wait for their end, or force it, and those that run fail.",
                )
            row.remove, row.job_id, row.unpacked_bytes = True, None, None
            store.move(session, row, "error", f"it was removed from the site by {user}")

    def _at(self, session: Session, text: str, site: str) -> RefdataSite:
        row = _get(session, text)
        if site not in self._sites:
            raise GatewayError(
                AppCode.ILLEGAL_PARAMETER,
                f"cluster: there is no site {site[:100]!r}; the sites are {', '.join(self._sites)}.",
            )
        found = session.get(RefdataSite, (row.id, site))
        if found is None:
            raise GatewayError(
                AppCode.INVALID_REFDATA_STATE,
                f"Reference data {row.id} was never staged at the site {site}; it is when the site is active.",
            )
        return found


def _get(session: Session, text: str) -> Refdata:
    found = store.get(session, int(text)) if _ID.fullmatch(text) else None
    if found is None:
        raise GatewayError(
            AppCode.NO_SUCH_REFDATA,
            f"There is no reference data {text[:100]!r}; list what there is with: cts refdata",
        )
    return found


def _new(
    session: Session,
    path: S3Path,
    info: ObjectInfo,
    user: str,
    crc64nvme: str | None,
    *,
    unpack: bool,
    force: bool,
) -> Refdata:
    number = store.copies(session, path.bucket, path.key, info.etag)
    if number and not force:
        same = [r for r in store.of_object(session, path.bucket, path.key) if r.etag == info.etag]
        raise _exists(path, f" as {same[-1].id}")
    return Refdata(
        bucket=path.bucket,
        key=path.key,
        number=number,
        size=info.size,
        etag=info.etag,
        part_sizes=info.part_sizes,
        crc64nvme=info.crc64nvme or crc64nvme,
        check_crc64nvme=crc64nvme is not None or not info.etag_is_md5,
        unpack=unpack,
        registered_by=user,
        registered_on=now(),
    )


def _exists(path: S3Path, which: str) -> GatewayError:
    return GatewayError(
        AppCode.REFDATA_EXISTS,
        f"{path} with just this content is registered already{which}; use that, or force it to have it a second time.",
    )
