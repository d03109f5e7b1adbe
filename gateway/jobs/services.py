"""What the API is given: the services behind its routes, as protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from gateway import wire
from gateway.jobs.caller import Caller
from gateway.jobs.feed import Page, Wanted
from gateway.jobs.files import Announced
from gateway.jobs.filters import EVERYTHING, Narrow
from gateway.jobs.parts import Sharing
from gateway.jobs.service import LogSlice
from gateway.reports.acct import Wanted as AcctWanted


class JobService(Protocol):
    """What callers do with jobs. All but `submit`, `dry_run` and `list_jobs` raise NO_SUCH_JOB for a job that is not theirs."""

    def submit(self, caller: Caller, body: object, key: str | None = None) -> int:
        """Check a parsed JobInput whole and store it; returns the job's id.

        The same `key` and body within a day return the first job's; ILLEGAL_PARAMETER for another body.
        """

    def dry_run(self, caller: Caller, body: object) -> wire.DryRun:
        """Check a parsed JobInput whole and show what it would be; nothing is stored."""

    def list_jobs(
        self,
        caller: Caller,
        *,
        cluster: str | None,
        state: str | None,
        after: datetime | None,
        before: datetime | None,
        limit: int,
        user: str | None = None,
        everyone: bool = False,
        narrow: Narrow = EVERYTHING,
    ) -> list[wire.JobPreview]:
        """List the caller's jobs, the last updated first; `user` and `everyone` are for admins."""

    def job(self, caller: Caller, job_id: int) -> wire.Job:
        """Return one job."""

    def status(self, caller: Caller, job_id: int) -> wire.JobStatus:
        """Return the state of one job."""

    def exit_codes(self, caller: Caller, job_id: int) -> list[int | None]:
        """Return the exit code of each container, None where there is none."""

    def containers(self, caller: Caller, job_id: int) -> list[wire.Container]:
        """Return the containers of a job."""

    def container(self, caller: Caller, job_id: int, number: int) -> wire.Container:
        """Return one container; NO_SUCH_SUBJOB where there is none of that number."""

    def script(self, caller: Caller, job_id: int) -> list[str]:
        """Return the batch scripts that were submitted for a job."""

    def cancel(self, caller: Caller, job_id: int) -> None:
        """Ask for a job's end; INVALID_JOB_STATE where it has ended already."""

    def share(self, caller: Caller, job_id: int, sharing: Sharing) -> None:
        """Say who else may read a job; UNAUTHORIZED for who may only read it."""

    def log(
        self,
        caller: Caller,
        job_id: int,
        number: int,
        stream: Literal["stdout", "stderr"],
        seek: int,
        length: int | None,
    ) -> LogSlice:
        """Read a container's log from byte `seek` on; NO_SUCH_SUBJOB, NO_LOGS."""


class JobAdminService(Protocol):
    """What admins do with any job. All raise NO_SUCH_JOB."""

    def job(self, caller: Caller, job_id: int) -> wire.AdminJob:
        """Return one with its submissions."""

    def runner_status(
        self, caller: Caller, job_id: int, container: int | None
    ) -> wire.RunnerStatus:
        """Ask Slurm of it, or of one container."""

    def set_meta(
        self, caller: Caller, job_id: int, set_fields: Mapping[str, Any], unset_keys: Sequence[str]
    ) -> None:
        """Change what is noted of it."""

    def clean(self, caller: Caller, job_id: int, *, force: bool) -> None:
        """Have its directory removed; INVALID_JOB_STATE while it runs, unless it is forced."""

    def notify(self, caller: Caller, job_id: int, state: str | None) -> None:
        """Have the event of a state sent again; INVALID_JOB_STATE where it never had that."""


class EventService(Protocol):
    """Events, each once and in order."""

    def wanted(
        self,
        caller: Caller,
        *,
        jobs: Sequence[int],
        states: Sequence[str],
        everyone: bool,
        containers: bool,
    ) -> Wanted:
        """Say what the caller is told of; UNAUTHORIZED, NO_SUCH_JOB, ILLEGAL_PARAMETER."""

    def begin(self, last: int | None) -> int:
        """Return the event after which to begin; ILLEGAL_PARAMETER for one that is still to come."""

    def at_hand(self, wanted: Wanted, cursor: int) -> Page | None:
        """Return what is later than `cursor` without waiting; None where `page` must be asked."""

    def page(self, wanted: Wanted, cursor: int) -> Page:
        """Return what is later than `cursor`."""

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have `listener` called, from any thread, when there is something new; returns what ends that."""


class WebhookService(Protocol):
    """Webhooks. All that take an id raise NOT_FOUND."""

    def add(
        self,
        caller: Caller,
        url: str,
        *,
        states: Sequence[str],
        containers: bool,
        secret: str | None,
    ) -> wire.NewWebhook:
        """Register one; ILLEGAL_PARAMETER, RESOURCE_UNAVAILABLE."""

    def mine(self, caller: Caller) -> list[wire.Webhook]:
        """List the caller's."""

    def everything(self) -> list[wire.Webhook]:
        """List all."""

    def delete(self, caller: Caller, webhook_id: str, *, anybodys: bool = False) -> None:
        """Remove one."""

    def test(self, caller: Caller, webhook_id: str) -> wire.WebhookTest:
        """Send a test event now."""


class RestartService(Protocol):
    """Jobs in error, taken up again. Both raise NO_SUCH_JOB, and INVALID_JOB_STATE where there is nothing to take up."""

    def restart(self, caller: Caller, job_id: int) -> None:
        """Run those containers again that are not complete."""

    def upload(self, caller: Caller, job_id: int) -> None:
        """Upload outputs that were kept at the site."""


class ImageService(Protocol):
    """Approved images."""

    def everything(self) -> list[wire.Image]:
        """List them."""

    def get(self, name: str) -> wire.Image:
        """Find one by a name as users write it."""

    def approve(
        self,
        caller: Caller,
        name: str,
        *,
        refdata_id: str | None = None,
        default_refdata_mount_point: str | None = None,
        urls: Sequence[str] | None = None,
        usage_notes: str | None = None,
        from_image: str | None = None,
        stage: bool = False,
    ) -> wire.Image:
        """Look one up in its registry and record it, with its reference data and where that is seen by default, and what
        an admin says of it; what is not said is taken from another. `stage`: every active site fetches it at once.
        """

    def delete(self, caller: Caller, name: str) -> None:
        """Forget one; NO_SUCH_IMAGE. Jobs that have it keep what it was."""

    def stage(self, caller: Caller, name: str, sites: Sequence[str]) -> wire.Image:
        """Have sites, or all that are active, fetch and convert one now."""


class CacheService(Protocol):
    """The image caches of the sites. All that take a site raise NOT_FOUND, and SiteError where it does not answer."""

    def everything(self, sites: Sequence[str]) -> list[wire.ImageCache]:
        """Return the caches of those sites, or of all; of one that does not answer, why."""

    def remove(self, caller: Caller, site: str, digest: str) -> None:
        """Remove an image; INVALID_JOB_STATE while jobs need it, NO_SUCH_IMAGE."""

    def verify(self, caller: Caller, site: str, digest: str) -> wire.CacheCheck:
        """Read an image whole; NO_SUCH_IMAGE."""

    def prune(self, caller: Caller, site: str, most: int | None) -> wire.Pruned:
        """Remove what no job needs, unused for longest first, until the site has `most` bytes, or its own bound."""


class RefdataService(Protocol):
    """Reference data and its sites. All that take an id raise NO_SUCH_REFDATA."""

    def everything(self) -> list[wire.Refdata]:
        """List all."""

    def get(self, refdata_id: str) -> wire.Refdata:
        """Find one by its id."""

    def of_path(self, path: str) -> list[wire.Refdata]:
        """List the registrations of an object."""

    def register(
        self, caller: Caller, path: str, *, crc64nvme: str | None, unpack: bool, force: bool
    ) -> wire.Refdata:
        """Record an object; REFDATA_EXISTS where just this content is known, unless it is forced."""

    def recover(self, caller: Caller, refdata_id: str, site: str) -> None:
        """Have a site stage it again; INVALID_REFDATA_STATE unless that failed."""

    def clean(self, caller: Caller, refdata_id: str, site: str, *, force: bool) -> None:
        """Have it removed from a site; INVALID_REFDATA_STATE while jobs need it, unless it is forced."""


class InfoService(Protocol):
    """The gateway itself, its sites and its accounting."""

    def root(self) -> wire.Root:
        """Say what this service is."""

    def whoami(self, caller: Caller) -> wire.WhoAmI:
        """Say who the caller is here."""

    def sites(self, caller: Caller) -> list[wire.Site]:
        """List the sites, each with what it offers the caller."""

    def switch_site(
        self, caller: Caller, name: str, *, active: bool, reason: str | None = None
    ) -> None:
        """Have a site take jobs, or no more of them; NOT_FOUND for one that there is not."""

    def check_template(self, caller: Caller, name: str, template: str | None) -> wire.TemplateCheck:
        """Try a site's template, or another one there; NOT_FOUND, ILLEGAL_PARAMETER."""

    def ready(self) -> wire.Ready:
        """Check each thing that the gateway depends on."""

    def accounting(
        self,
        caller: Caller,
        *,
        users: Sequence[str],
        everyone: bool,
        wanted: AcctWanted,
    ) -> list[wire.AcctRow]:
        """Return accounting rows that the caller may see; `users` and `everyone` go before the user in `wanted`."""


@dataclass(frozen=True)
class TokenUse:
    """Whose token a request came with, and the token's public id."""

    user: str
    token_id: str


class TokenService(Protocol):
    """Bearer tokens, which identify callers where the kernel cannot."""

    def create(
        self, caller: Caller, *, name: str | None, expires_in: int | None, user: str | None = None
    ) -> wire.NewToken:
        """Make a token for the caller, or for another user, which is for admins; `expires_in` is in seconds."""

    def mine(self, caller: Caller) -> list[wire.Token]:
        """List the caller's tokens, the newest first."""

    def everything(self, user: str | None) -> list[wire.Token]:
        """List everybody's tokens, or one user's."""

    def revoke(self, caller: Caller, token_id: str, *, anybodys: bool = False) -> None:
        """End a token at once; NOT_FOUND for one that is not the caller's, unless it may be anybody's."""

    def check(self, text: str, origin: str) -> TokenUse:
        """Find out whose a token is; INVALID_TOKEN where it does not work. `origin` is for the audit log."""


class FileService(Protocol):
    """Files of users in S3: presigned requests, never the data."""

    def write(self, caller: Caller, files: Sequence[Announced], part_size: int) -> wire.Uploads:
        """Grant the upload of exactly those bytes; S3_PATH_INACCESSIBLE where the caller may not write."""

    def read(self, caller: Caller, files: Sequence[str]) -> wire.Downloads:
        """Grant the reading of objects; S3_PATH_INACCESSIBLE where the caller may not read."""


class RequestService(Protocol):
    """What users ask the admins for."""

    def ask(
        self,
        caller: Caller,
        kind: Literal["image", "refdata"],
        target: str,
        *,
        unpack: bool,
        note: str | None,
    ) -> wire.Request:
        """Ask for an image, or an object as reference data; what is pending already is that request."""

    def mine(self, caller: Caller, state: str | None) -> list[wire.Request]:
        """List the caller's, the newest first."""

    def everything(self, user: str | None, state: str | None) -> list[wire.Request]:
        """List everybody's, or one user's."""

    def get(self, caller: Caller, request_id: str) -> wire.Request:
        """Return one; NOT_FOUND for another user's, but for admins."""

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
        """Do what it asks for; where that fails it stays pending."""

    def decline(self, caller: Caller, request_id: str, reason: str) -> wire.Request:
        """Say no, and why."""


class NodeService(Protocol):
    """What compute nodes ask for."""

    def check(self, job_id: int, token: str) -> None:
        """See that a token is that job's; INVALID_TOKEN."""

    def answer(self, job_id: int, body: bytes) -> bytes:
        """Answer a request for grants, as docs/node-protocol.md has both; ILLEGAL_PARAMETER, RESOURCE_UNAVAILABLE."""


class MetricsService(Protocol):
    """What the daemon counts of itself."""

    def text(self) -> bytes:
        """Return it in Prometheus' text format."""

    def served(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note a request; `route` as the table of routes has it, status 0 where nothing was answered."""


@dataclass(frozen=True)
class Services:
    """All of them."""

    jobs: JobService
    images: ImageService
    info: InfoService
    tokens: TokenService
    refdata: RefdataService
    files: FileService
    job_admin: JobAdminService
    events: EventService
    webhooks: WebhookService
    requests: RequestService
    restarts: RestartService
    nodes: NodeService
    cache: CacheService
    metrics: MetricsService
