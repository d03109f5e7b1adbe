"""The bodies of the wire protocol, as pydantic models: what the API answers and the client returns.

Field names are the protocol's. Times have a zone; sizes are bytes, durations seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

WireState = Literal[
    "created",
    "download_submitted",
    "job_submitting",
    "job_submitted",
    "upload_submitting",
    "upload_submitted",
    "complete",
    "canceling",
    "canceled",
    "error_processing_submitting",
    "error_processing_submitted",
    "error",
]


class Root(BaseModel):
    """GET /."""

    service_name: str
    version: str
    git_hash: str
    server_time: datetime
    notes: str


class PathPermission(BaseModel):
    """One path that the caller may use, and how."""

    path: str
    perm: Literal["read", "write"]


class WhoAmI(BaseModel):
    """GET /whoami. Empty `allowed_paths`: everywhere the service may."""

    user: str
    roles: list[str]
    allowed_paths: list[PathPermission]


class SiteQueue(BaseModel):
    """A partition or QOS that a job may name, with its longest run time in minutes where that is not the site's."""

    name: str
    max_runtime_min: int | None = None


class SlurmPartition(BaseModel):
    """A partition as Slurm has it: `state` is UP, DOWN, DRAIN or INACTIVE; counts of its nodes are null where they are not told.

    Nodes that are neither allocated nor idle are drained, down or reserved.
    """

    name: str
    state: str
    default: bool
    max_runtime_min: int | None
    nodes: int
    nodes_allocated: int | None = None
    nodes_idle: int | None = None
    nodes_other: int | None = None


class SlurmNow(BaseModel):
    """What a site's Slurm said `age_seconds` ago, at `asked`; `error` is why it says nothing newer.

    `backend` is how the gateway speaks to it: cli, ssh, rest or pyslurm.
    """

    backend: str = "cli"
    asked: datetime | None = None
    age_seconds: float | None = None
    partitions: list[SlurmPartition] = Field(default_factory=list)
    error: str | None = None


class Site(BaseModel):
    """One compute site, and what it offers the caller: from `inactive_reason` on, additions to the protocol.

    What names a job may give come first, the default before the others; `licenses` is the most of each a container may
    have. GPUs are of a node; `nodes_per_container` is the most that one container may have. `slurm` has those partitions that
    jobs may go to, as they are now.
    """

    cluster: str
    active: bool
    available: bool
    unavailable_reason: str | None
    nodes: int
    cpus_per_node: int
    memory_per_node_gb: float
    max_runtime_min: int
    notes: list[str]
    inactive_reason: str | None = None
    partitions: list[SiteQueue] = Field(default_factory=list)
    qos: list[SiteQueue] = Field(default_factory=list)
    accounts: list[str] = Field(default_factory=list)
    reservations: list[str] = Field(default_factory=list)
    features: list[str] = Field(default_factory=list)
    licenses: dict[str, int] = Field(default_factory=dict)
    gpus_per_node: int = 0
    nodes_per_container: int = 1
    max_cpu_hours: float | None = None
    slurm: SlurmNow | None = None


class Sites(BaseModel):
    """GET /sites."""

    sites: list[Site]


class ReadyLine(BaseModel):
    """The state of one thing that the gateway depends on."""

    name: str
    ok: bool
    detail: str


class Ready(BaseModel):
    """GET /ready."""

    ready: bool
    checks: list[ReadyLine]


class TemplateCheck(BaseModel):
    """POST /admin/sites/{site}/template: what was tried of a template; nothing was after what failed. `script`: of the smallest job."""

    cluster: str
    template: str
    path: str
    ok: bool
    checks: list[ReadyLine]
    script: str | None = None


class Health(BaseModel):
    """GET /health."""

    status: str = "ok"


class JobId(BaseModel):
    """POST /jobs."""

    job_id: str


class PlannedFile(BaseModel):
    """An object and the path that a container would see it at."""

    file: str
    path: str
    size: int
    crc64nvme: str | None = None


class GeneratedFile(BaseModel):
    """A file that the gateway would write for a container."""

    path: str
    text: str


class PlannedContainer(BaseModel):
    """What one container would be given; `argv` whole, `environment` what the job sets over the image's."""

    index: int
    input_files: list[PlannedFile]
    argv: list[str]
    environment: dict[str, str]
    output_dir: str
    generated_files: list[GeneratedFile]


class DryRun(BaseModel):
    """POST /jobs?dry_run=true: what the job would be.

    `containers_left_out` are the last ones, past what an answer holds; all of them where other jobs are yet to write inputs.
    `cluster` is the site; of a job for any site, `cluster_choice` says why it is that one.
    """

    cluster: str
    cluster_choice: str | None = None
    image: JobImage
    num_containers: int
    input_file_count: int
    input_bytes: int
    shared_inputs: list[PlannedFile]
    generated_files: list[GeneratedFile]
    containers: list[PlannedContainer]
    containers_left_out: int
    scripts: list[str]


class TransitionTime(BaseModel):
    """When a job came to a state; `phase` is the finer one, `detail` says how or why."""

    state: WireState
    time: datetime
    phase: str
    detail: str | None = None


class JobStatus(BaseModel):
    """GET /jobs/{id}/status. Of a job that waits: why, where in the site's queue of the gateway, and Slurm's guess of its start."""

    id: str
    user: str
    state: WireState
    phase: str
    reason: str | None = None
    queue_position: int | None = None
    expected_start: datetime | None = None
    cancel_by: str | None = None
    transition_times: list[TransitionTime]
    admin_meta: dict[str, Any] = Field(default_factory=dict)


class ApprovedImage(BaseModel):
    """What an image was when it was approved."""

    name: str
    digest: str
    tag: str | None
    entrypoint: list[str]
    refdata_id: str | None = None
    default_refdata_mount_point: str | None = None
    registered_by: str
    registered_on: datetime


class JobImage(ApprovedImage):
    """The image of a job, as it was at submission. `platform_digest` is what runs: the image for the site's platform."""

    platform: str | None = None
    platform_digest: str | None = None


RefdataState = Literal["created", "download_submitted", "complete", "error"]


class ImageStatus(BaseModel):
    """An image at a site where it was staged. `job_id` is the job that does it, `reason` why that waits."""

    cluster: str
    state: RefdataState
    updated: datetime
    job_id: str | None = None
    error: str | None = None
    reason: str | None = None


class Image(ApprovedImage):
    """An approved image, with what its admins say of it, the platforms that it is for, and where it was staged."""

    urls: list[str] = Field(default_factory=list)
    usage_notes: str | None = None
    platforms: list[str] = Field(default_factory=list)
    statuses: list[ImageStatus] = Field(default_factory=list)


class CachedImage(BaseModel):
    """An image in the cache of a site: `jobs` that have not ended need it; `digest` is that for the site's platform."""

    cluster: str
    digest: str
    names: list[str]
    size: int
    converted: datetime
    last_used: datetime
    jobs: int


class ImageCache(BaseModel):
    """The image cache of a site. `max_size` is null without a bound; `error` says why the rest is not known."""

    cluster: str
    size: int = 0
    max_size: int | None = None
    images: list[CachedImage] = Field(default_factory=list)
    error: str | None = None


class ImageCaches(BaseModel):
    """GET /admin/cache."""

    data: list[ImageCache]


class CacheCheck(BaseModel):
    """What came of reading an image in a cache whole: whether it is what was converted, and else what is the matter."""

    cluster: str
    digest: str
    good: bool
    detail: str | None = None


class Pruned(BaseModel):
    """What was removed from the cache of a site, and the bytes that are left in it."""

    cluster: str
    removed: list[CachedImage]
    size: int


class Images(BaseModel):
    """GET /images."""

    data: list[Image]


class RefdataTime(BaseModel):
    """When reference data came to a state at a site."""

    state: RefdataState
    time: datetime


class RefdataStatus(BaseModel):
    """Reference data at one site. `job_id` is the job that stages it, `reason` why that waits."""

    cluster: str
    state: RefdataState
    transition_times: list[RefdataTime]
    error: str | None = None
    reason: str | None = None
    job_id: str | None = None
    unpacked_bytes: int | None = None


class Refdata(BaseModel):
    """Reference data: an object as it was when it was registered."""

    id: str
    file: str
    size: int
    etag: str
    crc64nvme: str | None = None
    unpack: bool
    registered_by: str
    registered_on: datetime
    statuses: list[RefdataStatus] = Field(default_factory=list)


class RefdataList(BaseModel):
    """GET /refdata, GET /refdata/path/{path}."""

    data: list[Refdata]


class Output(BaseModel):
    """An object that a job wrote and that was seen in S3."""

    file: str
    crc64nvme: str | None = None
    size: int | None = None
    etag: str | None = None


class Grant(BaseModel):
    """A presigned request to the object store: send `headers` exactly as they are. Its URL is a secret until it expires."""

    url: str
    headers: dict[str, str] = Field(default_factory=dict)


class PartGrant(Grant):
    """The upload of one part, counted from 1."""

    number: int


class PartThere(BaseModel):
    """A part that an earlier attempt has sent; its ETag is the MD5 of its bytes, unless the store encrypts."""

    number: int
    size: int
    etag: str


class Multipart(BaseModel):
    """A multipart upload: the PUTs of its parts, and the POST of their list that completes it; `there` need not be sent again."""

    part_size: int
    parts: list[PartGrant]
    complete: Grant
    there: list[PartThere] = Field(default_factory=list)


class Upload(BaseModel):
    """How to write one file. `there`: just these bytes are there already. Else one PUT, or a multipart upload."""

    file: str
    there: bool
    put: Grant | None = None
    multipart: Multipart | None = None


class Uploads(BaseModel):
    """POST /files."""

    uploads: list[Upload]
    expires: datetime


class Download(Grant):
    """How to read one object: a GET, and what its bytes are checked with. `etag` is without quotes."""

    file: str
    size: int
    etag: str
    part_sizes: list[int] | None = None
    crc64nvme: str | None = None


class Downloads(BaseModel):
    """POST /files/read."""

    downloads: list[Download]
    expires: datetime


class JobPreview(JobStatus):
    """A job in listings; `partition`, `qos` and `account` are what Slurm was given, the site's own where the job names none."""

    name: str | None = None
    job_input: dict[str, Any]
    image: JobImage
    input_file_count: int
    output_file_count: int | None = None
    cpu_hours: float | None = None
    cpu_factor: float | None = None
    max_memory: int | None = None
    error: str | None = None
    logpath: str | None = None
    partition: str | None = None
    qos: str | None = None
    account: str | None = None
    slurm_jobs: list[str] = Field(default_factory=list)
    containers: dict[str, int] = Field(default_factory=dict)


class ListedFile(BaseModel):
    """An object that was found below one of a job's `input_dirs`, or that matches one of its `input_globs`."""

    file: str
    crc64nvme: str | None = None


class Sharing(BaseModel):
    """Who may read a job besides its owner and admins."""

    users: list[str] = Field(default_factory=list)
    groups: list[str] = Field(default_factory=list)


class Job(JobPreview):
    """GET /jobs/{id}. `listed_files` are the inputs that its `input_dirs` and `input_globs` gave."""

    shared_with: Sharing = Field(default_factory=Sharing)
    outputs: list[Output] = Field(default_factory=list)
    listed_files: list[ListedFile] = Field(default_factory=list)


class Submission(BaseModel):
    """One Slurm submission of a job: of those containers, `per_task` of them side by side in each array task."""

    number: int
    containers: list[int]
    per_task: int
    upload_only: bool
    tag: str
    state: str
    created: datetime
    submitted: datetime | None = None
    attempts: int
    slurm_job_id: str | None = None


class AdminJob(Job):
    """GET /admin/jobs/{id}: a job with what only its admins need. `cleaned` and `logs_cleaned`: what is gone from its site."""

    submissions: list[Submission] = Field(default_factory=list)
    directory: str | None = None
    cancel_time: datetime | None = None
    usage_final: bool = False
    cleaned: bool = False
    logs_stored: datetime | None = None
    logs_cleaned: bool = False


class RunnerStatus(BaseModel):
    """What Slurm says of a job, as it says it: documents of squeue and sacct, or why there is none."""

    cluster: str
    slurm_jobs: list[str]
    controller: Any = None
    controller_error: str | None = None
    accounting: Any = None
    accounting_error: str | None = None


class Jobs(BaseModel):
    """GET /jobs. `next` is the cursor of the page that follows, where one was asked for with a cursor."""

    jobs: list[JobPreview]
    next: str | None = None


class ExitCodes(BaseModel):
    """GET /jobs/{id}/exit_codes, by container number."""

    exit_codes: list[int | None]


class Attempt(BaseModel):
    """An earlier run of a container that was run again."""

    attempt: int
    slurm_job_id: str | None = None
    node: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    error: str | None = None
    ended: datetime


class Progress(BaseModel):
    """How far a transfer is: bytes, and bytes per second over the last seconds."""

    bytes_done: int
    bytes_total: int
    bytes_per_second: int


class Container(BaseModel):
    """One container of a job; `times` maps a phase to its begin and end. `attempt` counts its runs, from 1.

    `progress` is there while inputs or outputs of some seconds are under way.
    """

    index: int
    id: str
    state: WireState
    phase: str
    exit_code: int | None = None
    signal: int | None = None
    slurm_job_id: str | None = None
    slurm_state: str | None = None
    node: str | None = None
    times: dict[str, list[str | None]] = Field(default_factory=dict)
    outputs: list[Output] = Field(default_factory=list)
    error: str | None = None
    reason: str | None = None
    progress: Progress | None = None
    log_truncated: bool = False
    attempt: int = 1
    earlier: list[Attempt] = Field(default_factory=list)


class Containers(BaseModel):
    """GET /jobs/{id}/containers."""

    containers: list[Container]


class Script(BaseModel):
    """The batch scripts that were submitted for a job."""

    scripts: list[str]


class AcctRow(BaseModel):
    """One row of the accounting: a job, a container or a phase. Seconds, bytes; fractions of 1."""

    JobID: str
    JobName: str | None = None
    User: str | None = None
    Account: str | None = None
    Partition: str | None = None
    QOS: str | None = None
    Site: str | None = None
    Image: str | None = None
    Digest: str | None = None
    Refdata: str | None = None
    State: str | None = None
    Phase: str | None = None
    ExitCode: str | None = None
    Submit: datetime | None = None
    Start: datetime | None = None
    End: datetime | None = None
    Elapsed: float | None = None
    Timelimit: int | None = None
    NCPUS: int | None = None
    NGPUS: int | None = None
    ReqMem: int | None = None
    MaxRSS: int | None = None
    TotalCPU: float | None = None
    NNodes: int | None = None
    NodeList: str | None = None
    SlurmID: str | None = None
    Inputs: int | None = None
    Outputs: int | None = None
    InBytes: int | None = None
    OutBytes: int | None = None
    QueueWait: float | None = None
    StageIn: float | None = None
    StageOut: float | None = None
    CPUEff: float | None = None
    MemEff: float | None = None


class AcctRows(BaseModel):
    """GET /accounting."""

    rows: list[AcctRow]


class Token(BaseModel):
    """What is told of a bearer token; `id` is its public part."""

    id: str
    user: str
    name: str | None = None
    state: Literal["active", "expired", "revoked"]
    created: datetime
    created_by: str
    expires: datetime
    last_used: datetime | None = None
    revoked: datetime | None = None
    revoked_by: str | None = None


class NewToken(Token):
    """POST /tokens: the one time that the token itself is told."""

    token: str


class Tokens(BaseModel):
    """GET /tokens."""

    tokens: list[Token]


class Event(BaseModel):
    """A job, or one of its containers (its number), came to a state. Ids count up; `detail` is an error, or who canceled."""

    id: str
    job_id: str
    container: int | None = None
    user: str
    name: str | None = None
    cluster: str
    state: WireState
    phase: str
    time: datetime
    detail: str | None = None


class Webhook(BaseModel):
    """Who is told of events: a user's webhook, one of the configuration (`name`), or Kafka. `last_event` was sent last."""

    id: str
    kind: Literal["webhook", "kafka"] = "webhook"
    name: str | None = None
    user: str | None = None
    url: str | None = None
    states: list[str] = Field(default_factory=list)
    containers: bool = False
    created: datetime
    state: Literal["active", "failing", "disabled"]
    last_event: str
    last_success: datetime | None = None
    failing_since: datetime | None = None
    last_error: str | None = None
    disabled: datetime | None = None


class NewWebhook(Webhook):
    """POST /webhooks: the one time that the secret is told."""

    secret: str


class Webhooks(BaseModel):
    """GET /webhooks."""

    webhooks: list[Webhook]


class WebhookTest(BaseModel):
    """POST /webhooks/{id}/test."""

    delivered: bool
    error: str | None = None


RequestState = Literal["pending", "approved", "declined"]


class Request(BaseModel):
    """What a user asks the admins for. `target` is an image's name, or an object of S3; `result` what came of it: the image
    by digest, or the id of the reference data."""

    id: str
    kind: Literal["image", "refdata"]
    target: str
    unpack: bool = False
    user: str
    note: str | None = None
    state: RequestState
    created: datetime
    answered: datetime | None = None
    answered_by: str | None = None
    answer: str | None = None
    result: str | None = None


class Requests(BaseModel):
    """GET /requests, GET /admin/requests."""

    requests: list[Request]


class ValidationDetail(BaseModel):
    """One mistake in a request: where, what, which rule."""

    loc: list[str | int]
    msg: str
    type: str


class ErrorInfo(BaseModel):
    """What went wrong."""

    httpcode: int
    httpstatus: str
    time: datetime
    request_id: str
    message: str
    appcode: int | None = None
    apperror: str | None = None
    request_validation_detail: list[ValidationDetail] | None = None


class ErrorBody(BaseModel):
    """The body of every 4xx and 5xx."""

    error: ErrorInfo
