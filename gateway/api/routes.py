"""Every route, once: method, path, handler and who may use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gateway import wire
from gateway.api.admin import accounting, admin_jobs
from gateway.api.cache import caches, prune
from gateway.api.cache import remove as remove_cached
from gateway.api.cache import verify as verify_cached
from gateway.api.docs import docs
from gateway.api.events import add as add_webhook
from gateway.api.events import delete as delete_webhook
from gateway.api.events import delete_anybodys as delete_any_webhook
from gateway.api.events import events
from gateway.api.events import everybodys as all_webhooks
from gateway.api.events import mine as my_webhooks
from gateway.api.events import test as test_webhook
from gateway.api.files import read, write
from gateway.api.images import approve, delete, image, images, stage
from gateway.api.job_admin import admin_job, meta, notify, runner_status
from gateway.api.job_admin import clean as clean_job
from gateway.api.jobs import (
    cancel,
    container,
    containers,
    exit_codes,
    job,
    jobs,
    log,
    script,
    share,
    status,
    submit,
)
from gateway.api.metrics import metrics
from gateway.api.nodes import node_request
from gateway.api.refdata import by_id, by_path, clean, everything, recover, register
from gateway.api.requests import (
    all_requests,
    approve_request,
    ask,
    decline_request,
    my_requests,
    one_request,
)
from gateway.api.restarts import restart, upload
from gateway.api.sites import (
    check_template,
    health,
    ready,
    root,
    sites,
    switch_off,
    switch_on,
    whoami,
)
from gateway.api.tokens import create, create_for, everybodys, mine, revoke, revoke_anybodys


class Access(Enum):
    """Who may use a route."""

    OPEN = "anybody, unidentified callers included"
    USER = "any identified user"
    ADMIN = "admins"
    NODE = "compute nodes of that job, by its token, over TLS alone"


@dataclass(frozen=True)
class Route:
    """One route. `model` is the body of its answer."""

    method: str
    path: str
    handler: Callable[..., Any]
    access: Access
    model: Any = None
    status: int = 200

    @property
    def name(self) -> str:
        """A name of its own, for OpenAPI: `get_jobs_id_status`."""
        words = self.path.replace("{", "").replace(":path}", "").replace("}", "").split("/")
        return "_".join([self.method.lower(), *(word for word in words if word)])


OPEN, USER, ADMIN, NODE = Access.OPEN, Access.USER, Access.ADMIN, Access.NODE

ROUTES = (
    Route("GET", "/", root, OPEN, wire.Root),
    Route("GET", "/health", health, OPEN, wire.Health),
    Route("GET", "/ready", ready, OPEN, wire.Ready),
    Route("GET", "/docs", docs, OPEN),
    Route("GET", "/metrics", metrics, USER),
    Route("GET", "/whoami", whoami, USER, wire.WhoAmI),
    Route("GET", "/sites", sites, USER, wire.Sites),
    Route("POST", "/jobs", submit, USER, wire.JobId | wire.DryRun),
    Route("GET", "/jobs", jobs, USER, wire.Jobs),
    Route("GET", "/jobs/{job_id}", job, USER, wire.Job),
    Route("GET", "/jobs/{job_id}/status", status, USER, wire.JobStatus),
    Route("GET", "/jobs/{job_id}/exit_codes", exit_codes, USER, wire.ExitCodes),
    Route("GET", "/jobs/{job_id}/containers", containers, USER, wire.Containers),
    Route("GET", "/jobs/{job_id}/script", script, USER, wire.Script),
    Route("GET", "/jobs/{job_id}/log/{number}/{stream}", log, USER),
    Route("PUT", "/jobs/{job_id}/cancel", cancel, USER, status=204),
    Route("PUT", "/jobs/{job_id}/share", share, USER, status=204),
    Route("GET", "/images", images, USER, wire.Images),
    Route("GET", "/images/{name:path}", image, USER, wire.Image),
    Route("GET", "/refdata", everything, USER, wire.RefdataList),
    Route("GET", "/refdata/id/{refdata_id}", by_id, USER, wire.Refdata),
    Route("GET", "/refdata/path/{path:path}", by_path, USER, wire.RefdataList),
    Route("POST", "/files", write, USER, wire.Uploads),
    Route("POST", "/files/read", read, USER, wire.Downloads),
    Route("POST", "/requests", ask, USER, wire.Request),
    Route("GET", "/requests", my_requests, USER, wire.Requests),
    Route("GET", "/requests/{request_id}", one_request, USER, wire.Request),
    Route("GET", "/accounting", accounting, USER, wire.AcctRows),
    Route("GET", "/events", events, USER),
    Route("POST", "/webhooks", add_webhook, USER, wire.NewWebhook),
    Route("GET", "/webhooks", my_webhooks, USER, wire.Webhooks),
    Route("DELETE", "/webhooks/{webhook_id}", delete_webhook, USER, status=204),
    Route("POST", "/webhooks/{webhook_id}/test", test_webhook, USER, wire.WebhookTest),
    Route("POST", "/tokens", create, USER, wire.NewToken),
    Route("GET", "/tokens", mine, USER, wire.Tokens),
    Route("DELETE", "/tokens/{token_id}", revoke, USER, status=204),
    Route("POST", "/node/{job_id}/requests", node_request, NODE),
    Route("GET", "/admin/jobs", admin_jobs, ADMIN, wire.Jobs),
    Route("GET", "/admin/jobs/{job_id}", admin_job, ADMIN, wire.AdminJob),
    Route("GET", "/admin/jobs/{job_id}/exit_codes", exit_codes, ADMIN, wire.ExitCodes),
    Route("GET", "/admin/jobs/{job_id}/container", containers, ADMIN, wire.Containers),
    Route("GET", "/admin/jobs/{job_id}/container/{number}", container, ADMIN, wire.Container),
    Route("GET", "/admin/jobs/{job_id}/runner_status", runner_status, ADMIN, wire.RunnerStatus),
    Route("PUT", "/admin/jobs/{job_id}/cancel", cancel, ADMIN, status=204),
    Route("PUT", "/admin/jobs/{job_id}/meta", meta, ADMIN, status=204),
    Route("DELETE", "/admin/jobs/{job_id}/clean", clean_job, ADMIN, status=204),
    Route("PUT", "/admin/jobs/{job_id}/notify", notify, ADMIN, status=204),
    Route("PUT", "/admin/jobs/{job_id}/restart", restart, ADMIN, status=204),
    Route("PUT", "/admin/jobs/{job_id}/upload", upload, ADMIN, status=204),
    Route("POST", "/admin/images/{name:path}", approve, ADMIN, wire.Image),
    Route("DELETE", "/admin/images/{name:path}", delete, ADMIN, status=204),
    Route("PUT", "/admin/images/{name:path}/stage", stage, ADMIN, wire.Image),
    Route("GET", "/admin/cache", caches, ADMIN, wire.ImageCaches),
    Route("PUT", "/admin/cache/{cluster}/prune", prune, ADMIN, wire.Pruned),
    Route("DELETE", "/admin/cache/{cluster}/{digest}", remove_cached, ADMIN, status=204),
    Route("PUT", "/admin/cache/{cluster}/{digest}/verify", verify_cached, ADMIN, wire.CacheCheck),
    Route("GET", "/admin/requests", all_requests, ADMIN, wire.Requests),
    Route("PUT", "/admin/requests/{request_id}/approve", approve_request, ADMIN, wire.Request),
    Route("PUT", "/admin/requests/{request_id}/decline", decline_request, ADMIN, wire.Request),
    Route("POST", "/admin/refdata/{path:path}", register, ADMIN, wire.Refdata),
    Route("PUT", "/admin/refdata/{refdata_id}/{cluster}/recover", recover, ADMIN, status=204),
    Route("DELETE", "/admin/refdata/{refdata_id}/{cluster}/clean", clean, ADMIN, status=204),
    Route("PUT", "/admin/sites/{site}/active", switch_on, ADMIN, status=204),
    Route("DELETE", "/admin/sites/{site}/active", switch_off, ADMIN, status=204),
    Route("POST", "/admin/sites/{site}/template", check_template, ADMIN, wire.TemplateCheck),
    Route("GET", "/admin/webhooks", all_webhooks, ADMIN, wire.Webhooks),
    Route("DELETE", "/admin/webhooks/{webhook_id}", delete_any_webhook, ADMIN, status=204),
    Route("POST", "/admin/tokens", create_for, ADMIN, wire.NewToken),
    Route("GET", "/admin/tokens", everybodys, ADMIN, wire.Tokens),
    Route("DELETE", "/admin/tokens/{token_id}", revoke_anybodys, ADMIN, status=204),
)
