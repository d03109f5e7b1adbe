"""The image caches of the sites: what is in them, what goes when one has grown too large, and what admins do with them.

The node agent fills a cache (docs/node-protocol.md, "The image cache"). Nothing is removed that a job needs which has not ended,
whatever it waits for. A task that starts while its image is removed, because its job came in that moment, converts it again.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from gateway import wire
from gateway.daemon.site import Site
from gateway.errors import AppCode, GatewayError, SiteError
from gateway.jobs.audit import audited
from gateway.jobs.caller import Caller
from gateway.slurm.hands import Entry
from gateway.store import images as store
from gateway.store.db import Database

log = structlog.get_logger()
_PERIOD = 60.0
_HOUR, _DAY = 3600.0, 86400.0
_SIF = re.compile(r"sha256-([0-9a-f]{64})\.sif")
# Temporary files, leases, what was set aside and notes of failures; locks are those of earlier releases.
_LEFT = re.compile(r"\.{0,2}sha256-([0-9a-f]{64})\.sif\.(?:tmp-|lease-|bad-|failed-|lock).*")
_MOST_NOTES = 10_000


@dataclass(frozen=True)
class _Cache:
    """A look at one: its SIF files by digest, what builders left behind, and how many jobs need each digest."""

    sifs: Mapping[str, Entry]
    left: Sequence[tuple[str, Entry]]
    needed: Mapping[str, int]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.sifs.values())


class ImageCaches:
    """The caches of all sites. `clock` gives the time in seconds since 1970."""

    def __init__(
        self, database: Database, sites: Mapping[str, Site], clock: Callable[[], float] = time.time
    ) -> None:
        self._db = database
        self._sites = sites
        self._clock = clock

    def tick(self, name: str) -> float:
        """Clean the cache of a site and keep it within its bound; returns the seconds to wait."""
        site = self._sites[name]
        cache = self._look(site)
        now = self._clock()
        old = [
            f"{_folder(site)}/{entry.name}"
            for digest, entry in cache.left
            if now - entry.changed > (_DAY if digest in cache.needed else _HOUR)
        ]
        if old:
            site.hands.remove(old)
            log.info("cache.cleaned", site=name, files=len(old))
        most = site.section.image_cache_max
        if most is not None:
            removed = self._shrink(site, cache, most)
            left = cache.size - sum(cache.sifs[digest].size for digest in removed)
            if left > most:
                log.warning("cache.full", site=name, size=left, most=most, why="jobs need the rest")
        return _PERIOD

    def everything(self, sites: Sequence[str]) -> list[wire.ImageCache]:
        """See `CacheService.everything`."""
        found = []
        for site in [self._site(name) for name in sites] or list(self._sites.values()):
            try:
                cache = self._look(site)
                found.append(
                    wire.ImageCache(
                        cluster=site.name,
                        size=cache.size,
                        max_size=site.section.image_cache_max,
                        images=self._views(site, cache, list(cache.sifs)),
                    )
                )
            except SiteError as exc:
                found.append(wire.ImageCache(cluster=site.name, error=str(exc)))
        return found

    def remove(self, caller: Caller, site: str, digest: str) -> None:
        """See `CacheService.remove`."""
        with audited(self._db, caller, "cache.remove", f"{site} {digest}"):
            place = self._site(site)
            cache = self._having(place, digest)
            jobs = cache.needed.get(digest, 0)
            if jobs:
                raise GatewayError(
                    AppCode.INVALID_JOB_STATE,
                    f"The image {digest} is needed at the site {site} by {jobs} jobs that have not ended; wait for their end.",
                )
            self._drop(place, [digest])

    def verify(self, caller: Caller, site: str, digest: str) -> wire.CacheCheck:
        """See `CacheService.verify`."""
        with audited(self._db, caller, "cache.verify", f"{site} {digest}"):
            place = self._site(site)
            self._having(place, digest)
            detail = self._wrong(place, digest)
        return wire.CacheCheck(cluster=site, digest=digest, good=detail is None, detail=detail)

    def prune(self, caller: Caller, site: str, most: int | None) -> wire.Pruned:
        """See `CacheService.prune`."""
        with audited(
            self._db, caller, "cache.prune", f"{site} {'' if most is None else most}".strip()
        ):
            place = self._site(site)
            bound = place.section.image_cache_max if most is None else most
            if bound is None:
                raise GatewayError(
                    AppCode.MISSING_PARAMETER,
                    f"The cache of the site {site} has no bound (image_cache_max): say how much it may have.",
                )
            cache = self._look(place)
            removed = self._shrink(place, cache, bound)
            views = self._views(place, cache, removed)
        return wire.Pruned(
            cluster=site, removed=views, size=cache.size - sum(view.size for view in views)
        )

    def _site(self, name: str) -> Site:
        if name not in self._sites:
            raise GatewayError(
                AppCode.NOT_FOUND,
                f"There is no site {name[:100]!r}; the sites are {', '.join(sorted(self._sites))}.",
            )
        return self._sites[name]

    def _look(self, site: Site) -> _Cache:
        # The jobs after the files: one that came in between is seen.
        entries = site.hands.listing(_folder(site))
        with self._db.read() as session:
            needed = store.needed(session, site.name)
        sifs, left = {}, []
        for entry in entries:
            match = _SIF.fullmatch(entry.name)
            if match is not None:
                sifs[f"sha256:{match[1]}"] = entry
                continue
            match = _LEFT.fullmatch(entry.name)
            if match is not None:
                left.append((f"sha256:{match[1]}", entry))
        return _Cache(sifs, left, needed)

    def _having(self, site: Site, digest: str) -> _Cache:
        cache = self._look(site)
        if digest not in cache.sifs:
            raise GatewayError(
                AppCode.NO_SUCH_IMAGE,
                f"The image {digest[:100]} is not in the cache of the site {site.name}; cts admin cache list shows what is.",
            )
        return cache

    def _shrink(self, site: Site, cache: _Cache, most: int) -> list[str]:
        """Remove what no job needs, unused for longest first, until `most` bytes are left; returns the digests."""
        size = cache.size
        gone = []
        for digest, entry in sorted(cache.sifs.items(), key=lambda item: item[1].accessed):
            if size <= most:
                break
            if digest in cache.needed:
                continue
            gone.append(digest)
            size -= entry.size
        if gone:
            self._drop(site, gone)
        return gone

    def _drop(self, site: Site, digests: Sequence[str]) -> None:
        # The files before their notes: a file without a note is looked at whole before it is used.
        site.hands.remove([f"{_folder(site)}/{_stem(digest)}.sif" for digest in digests])
        site.hands.remove([_note(site, digest) for digest in digests])
        log.info("cache.removed", site=site.name, images=list(digests))

    def _wrong(self, site: Site, digest: str) -> str | None:
        """Say what is wrong with an image; then its note is changed so that who uses it next looks at all of it, too."""
        note = _noted(site.hands.read_file(_note(site, digest)))
        if note is None:
            return "there is no note of what it was; it is looked at when it is used next"
        found = site.hands.sha256(f"{_folder(site)}/{_stem(digest)}.sif")
        if found is None:
            return "it was removed meanwhile"
        if found == note["sha256"]:
            return None
        site.hands.write_files([(_note(site, digest), json.dumps({**note, "mtime": 0}).encode())])
        log.warning("cache.wrong", site=site.name, image=digest, sha256=found, noted=note["sha256"])
        return "it is not what was converted; the next job that uses it sets it aside and makes it again"

    def _views(self, site: Site, cache: _Cache, digests: Sequence[str]) -> list[wire.CachedImage]:
        names = self._names()
        for name, data in site.hands.scan(f"{_folder(site)}/notes", _MOST_NOTES):
            note = _noted(data)
            if note is not None:  # of one that is not approved any more
                digest = name.removesuffix(".json").replace("-", ":", 1)
                names.setdefault(digest, [str(note.get("reference", "")).partition("@")[0]])
        views = [
            wire.CachedImage(
                cluster=site.name,
                digest=digest,
                names=names.get(digest, []),
                size=cache.sifs[digest].size,
                converted=_time(cache.sifs[digest].changed),
                last_used=_time(cache.sifs[digest].accessed),
                jobs=cache.needed.get(digest, 0),
            )
            for digest in digests
        ]
        return sorted(views, key=lambda view: view.last_used, reverse=True)

    def _names(self) -> dict[str, list[str]]:
        """Return what approved images are called, by their digest for each platform."""
        names: dict[str, list[str]] = {}
        with self._db.read() as session:
            for image in store.everything(session):
                text = image.name + (f":{image.tag}" if image.tag else "")
                digests = {image.digest, *(each["digest"] for each in image.platforms.values())}
                for digest in digests:
                    names.setdefault(digest, []).append(text)
        return names


def _folder(site: Site) -> str:
    return f"{site.work}/images"


def _stem(digest: str) -> str:
    return digest.replace(":", "-")


def _note(site: Site, digest: str) -> str:
    return f"{_folder(site)}/notes/{_stem(digest)}.json"


def _noted(data: bytes | None) -> dict[str, object] | None:
    """Read a note; None for what is none: the jobs' user can write there."""
    try:
        note = json.loads(data or b"")
    except ValueError:
        return None
    return note if isinstance(note, dict) and isinstance(note.get("sha256"), str) else None


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(min(max(seconds, 0), 253402300799), UTC)
