"""JobAdminService in memory, over the fake jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gateway import wire
from gateway.jobs.caller import Caller

if TYPE_CHECKING:
    from tests.api.gateway_fake import FakeJobs


class FakeJobAdmin:
    """Notes what it is asked for."""

    def __init__(self, jobs: FakeJobs) -> None:
        self._jobs = jobs
        self.asked: list[tuple[Any, ...]] = []

    def job(self, caller: Caller, job_id: int) -> wire.AdminJob:
        whole = self._jobs.job(caller, job_id)
        return wire.AdminJob(**whole.model_dump(), directory=f"/work/jobs/{job_id}")

    def runner_status(
        self, caller: Caller, job_id: int, container: int | None
    ) -> wire.RunnerStatus:
        self._jobs.status(caller, job_id)
        self.asked.append(("runner_status", job_id, container))
        return wire.RunnerStatus(
            cluster="dev",
            slurm_jobs=["77"],
            controller={"jobs": [{"job_id": 77}]},
            accounting_error="sacct: away",
        )

    def set_meta(
        self, caller: Caller, job_id: int, set_fields: Mapping[str, Any], unset_keys: Sequence[str]
    ) -> None:
        self._jobs.status(caller, job_id)
        self.asked.append(("set_meta", job_id, dict(set_fields), list(unset_keys)))

    def clean(self, caller: Caller, job_id: int, *, force: bool) -> None:
        self._jobs.status(caller, job_id)
        self.asked.append(("clean", job_id, force))

    def notify(self, caller: Caller, job_id: int, state: str | None) -> None:
        self._jobs.status(caller, job_id)
        self.asked.append(("notify", job_id, state))
