"""What Slurm's words on a submission mean: refused, later, or not known. Exactly-once submission rests on this table.

The texts are those of Slurm's error table (`slurm_strerror`, src/common/slurm_errno.c) and of sbatch itself
(src/sbatch/sbatch.c, opt.c), 22.05 to 26.05. sbatch tries again by itself, but only after slurmctld has said no to
an attempt; so its last line speaks for all attempts. What is not in the table leaves it open whether the job was queued.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from gateway.slurm.hands import CommandResult


class Answer(Enum):
    """What is known after sbatch has ended."""

    QUEUED = "queued"
    REFUSED = "refused"
    """Nothing was queued, and asking again would give the same answer."""
    LATER = "later"
    """Nothing was queued, but the same request may be taken later."""
    UNKNOWN = "unknown"
    """The job may be queued."""


@dataclass(frozen=True)
class Submission:
    """The answer; `text` is Slurm's job id when QUEUED, else what Slurm said, in one line."""

    answer: Answer
    text: str


_FAILED = "Batch job submission failed: "
_MOST = 600

# What --test-only says: `info` in slurm_job_will_run (src/api/allocate.c), where 26.05 has a word more, and `slurm_perror`.
_WILL_START = re.compile(
    r"Job [0-9]+ to start at (\S+) (?:.* in partition ([A-Za-z0-9_.+-]+))?", re.ASCII
)
_WOULD_FAIL = "allocation failure: "
# Said with --test-only, too, while all the nodes that would do are drained or down: a job would be queued, and wait.
_NO_NODES = "Requested node configuration is not available"
# Nothing is known then of when a job would start; a submission is tried again all the same.
_NOT_ASKED = re.compile(
    r"Unable to contact slurm controller|standby mode|Rate limit exceeded|Resource temporarily unavailable"
)

# slurmctld looked at the request and said no.
_REFUSED = """
Access denied to requested reservation
Access/permission denied
Burst Buffer permission denied
Burst Buffer request invalid
Burst Buffer resource limit exceeded
CPU count specification invalid
Circular job dependency
Duplicate generic resource (gres) specification
Environment is missing in job
Insufficient GRES available in allocation
Invalid GRES specification (with and without type identification)
Invalid --nice value
Invalid Trackable RESource (TRES) specification
Invalid account or account/partition combination specified
Invalid cluster feature specification
Invalid feature specification
Invalid generic resource (gres) specification
Invalid group id
Invalid job array specification
Invalid license specification
Invalid mcs_label specified
Invalid node name specified
Invalid or unknown association
Invalid partition name specified
Invalid preferred feature specification
Invalid qos specification
Invalid QOS specification, relative QOS can only be used in a single partition per cluster.
Invalid time specified
Invalid time-min specification (exceeds job's time or other limits)
Invalid user id
Invalid wckey specification
Job --batch option is invalid or not a subset of --constraint
Job --batch option is invalid or not a subset of --constraints
Job cannot be submitted without the current working directory specified.
Job dependency problem
Job script not specified
Job size specification needs to be provided
Memory required by task is not available
More processors requested than permitted
Multiple partition job request not supported when a partition is set in the association
No partition specified or system default partition
Node count specification invalid
Only batch jobs are accepted or processed
Pathname of a file, directory or other parameter too long
Requested GRES option unsupported by configured SelectType plugin
Requested node configuration is not available
Requested nodes not in this partition
Requested operation not supported on this system
Requested partition configuration not available now
Requested reservation is invalid
Requested time limit is invalid (missing or exceeds some limit)
Requested topology configuration is not available
Requires more ports than can be reserved
Task count specification invalid
Task distribution specification invalid
Time limit specification required, but not provided
User's group not permitted to use this partition
"""

# Nothing was queued: slurmctld said so, or (connect failure) there was none to send the request to.
_LATER = """
Controller is in standby mode, try a different controller
I/O error writing script/environment to file
Licenses currently unavailable
MaxJobCount limit reached
Partition in DOWN state
Rate limit exceeded, please retry later
Rate limit exceeded, please retry momentarily
Requested nodes are busy
Requested operation is presently disabled
Requested reservation is in use
Requested reservation not usable now
Required node not available (down, drained or reserved)
Required partition not available (inactive or drain)
Required ports are in use
Resource temporarily unavailable
Slurm backup controller in standby mode
System submissions disabled
Unable to contact slurm controller (connect failure)
Unable to create job record, try again
Waiting for burst buffer
"""

ERRORS: dict[str, Answer] = {
    **dict.fromkeys(_REFUSED.strip().splitlines(), Answer.REFUSED),
    **dict.fromkeys(_LATER.strip().splitlines(), Answer.LATER),
}

# One code for many limits; the line above it names the limit. Only those of how many jobs may wait pass with time.
_POLICY = "Job violates accounting/QOS policy"
_SUBMIT_LIMIT = re.compile(r"(Assoc|QOS)(Max|Grp)Submit\w*Limit|MaxSubmitJobsPer\w+")

# A site's job_submit plugin that says no without a code of its own; its message stands above.
_UNSPECIFIED = "Unspecified error"
# Diagnostics of sbatch's own road to slurmctld, which no plugin wrote.
_ROAD = re.compile(
    r"\b(slurm|auth|cred|conn|unpack|pack|safe|persist|tls|fd)_\w+|munge|socket|authenticat", re.I
)

# sbatch gave up before it asked slurmctld.
_OPTIONS = re.compile(
    r"unrecognized option|option requires an argument|option '\S+' requires|option '\S+' doesn't allow|"
    r"invalid option|Invalid (-|numeric|directive|node list)|invalid number of|"
    r"This does not look like a batch script|Batch script (is empty|contains)|"
    r"scripts that$|Script file \S+ is too large|Script \S+ is too big|Unexpected `:` in|Unmatched `|"
    r"cli_filter plugin terminated with error",
    re.MULTILINE,
)
_LOCAL = re.compile(
    r"Unable to open file|Cannot stat|establish a configuration source|process configuration file|"
    r"Failed to initialize plugin stack|failed to initialize cli_filter plugin"
)
_ID = re.compile(r"([0-9]{1,10})(?:;\S+)?", re.ASCII)
_PREFIX = re.compile(r"sbatch: (?:error: |fatal: )?")


def read_answer(done: CommandResult) -> Submission:
    """Tell what `sbatch --parsable` answered.

    sbatch prints the id only when slurmctld has queued the job: an id is proof, whatever sbatch died of afterwards.
    """
    failed = _FAILED in done.stderr  # then a number would be some plugin's
    for line in [] if failed else reversed(done.stdout.split("\n")):
        match = _ID.fullmatch(line.strip())
        if match is not None and match[1].strip("0"):
            return Submission(Answer.QUEUED, match[1])
    lines = [line.strip() for line in done.stderr.split("\n") if line.strip()]
    said = "; ".join(_PREFIX.sub("", line, count=1).removeprefix(_FAILED) for line in lines)[
        -_MOST:
    ]
    if done.returncode == 0:
        return Submission(Answer.UNKNOWN, f"no job id, but {done.stdout[:200]!r}")
    if done.returncode < 0:
        return Submission(Answer.UNKNOWN, f"died of signal {-done.returncode}; {said}".rstrip("; "))
    return Submission(_meaning(lines), said or f"exit code {done.returncode}")


@dataclass(frozen=True)
class Outlook:
    """What `sbatch --test-only` answered. QUEUED: a job would be taken, and start at `start` (UTC) in `partition`, if known."""

    answer: Answer
    text: str = ""
    start: datetime | None = None
    partition: str | None = None


def read_outlook(done: CommandResult) -> Outlook:
    """Tell what `sbatch --test-only` answered. Its times are those of the time zone it was run with: here UTC."""
    if done.returncode == 0:
        match = _WILL_START.search(done.stderr)
        if match is None:
            return Outlook(Answer.QUEUED)
        try:
            start = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
        except ValueError:
            start = None
        return Outlook(Answer.QUEUED, "", start, match[2])
    # What slurmctld says is the same as of a submission, behind other words.
    stderr = done.stderr.replace(_WOULD_FAIL, _FAILED)
    found = read_answer(CommandResult(done.returncode, "", stderr))
    if found.answer is Answer.REFUSED and found.text.endswith(_NO_NODES):
        return Outlook(Answer.LATER, found.text)
    if found.answer is Answer.LATER and (_FAILED not in stderr or _NOT_ASKED.search(found.text)):
        return Outlook(Answer.UNKNOWN, found.text)
    return Outlook(found.answer, found.text)


def _meaning(lines: list[str]) -> Answer:
    last = next((line for line in reversed(lines) if _FAILED in line), None)
    others = [_PREFIX.sub("", line, count=1) for line in lines if line is not last]
    if last is None:
        text = "\n".join(others)
        if _OPTIONS.search(text):
            return Answer.REFUSED
        return Answer.LATER if _LOCAL.search(text) else Answer.UNKNOWN
    error = last.partition(_FAILED)[2]
    if error.startswith(_POLICY):
        limited = any(_SUBMIT_LIMIT.search(line) for line in others)
        return Answer.LATER if limited else Answer.REFUSED
    if error == _UNSPECIFIED and others and not any(_ROAD.search(line) for line in others):
        return Answer.REFUSED
    return ERRORS.get(error, Answer.UNKNOWN)


def meaning_of(error: str) -> Answer:
    """Tell what one of Slurm's texts means where nothing stands beside it, as with slurmrestd.

    Which limit of a policy was hit is not said there. It may be one that passes, so that the job waits, and says for what.
    """
    return Answer.LATER if error.startswith(_POLICY) else ERRORS.get(error, Answer.UNKNOWN)
