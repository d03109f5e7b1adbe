"""The batch scripts of a job that is tried out: as they would be, with 0 for the numbers that it has not."""

from __future__ import annotations

from gateway.config import Config
from gateway.daemon.jobfiles import make_script
from gateway.daemon.packing import most_tasks, packed, plan
from gateway.daemon.site import Site
from gateway.errors import AppCode, GatewayError, SiteError
from gateway.store import jobs as store
from gateway.store.tables import Job, Submission


def scripts(config: Config, site: Site, job: Job) -> list[str]:
    """Render the script of each submission that a job would have; nothing is stored or submitted.

    Raises
    ------
    GatewayError
        SITE_UNAVAILABLE when the site does not tell its limits.
    """
    try:
        most = most_tasks(site.section, site.limits())
        site.agent()
    except SiteError as exc:
        raise GatewayError(
            AppCode.SITE_UNAVAILABLE,
            f"The site {site.name} does not answer as it should, so the job's script is not known: {exc}",
        ) from exc
    found = []
    parts = plan(range(job.num_containers), packed(site.section, job), most)
    for number, part in enumerate(parts):
        submission = Submission(
            job_id=0,
            number=number,
            containers=part.containers,
            per_task=part.per_task,
            tag=f"cts:{config.gateway.instance}:0:{number}:{'0' * 16}",
            state="prepared",
            created=store.now(),
        )
        found.append(make_script(site, submission, job))
    return found
