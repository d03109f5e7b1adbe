"""A job for any site goes to the one that fits and would start it first; of the others it is told why not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.config import ImagesSection, PathRule
from gateway.errors import AppCode, GatewayError, SiteError
from gateway.images.crane import Crane
from gateway.images.service import ImageRegistry
from gateway.jobs import preview
from gateway.jobs.admission import Admission
from gateway.jobs.anywhere import Fitting, first_to_start
from gateway.jobs.service import JobService
from gateway.jobs.sites import Sites
from gateway.slurm.protocol import SubmitLaterError, SubmitRefusedError
from gateway.store.tables import Image, Job, Refdata, RefdataSite
from tests.daemon.world import ADA, ALICE, World, approve

SOON, LATER = timedelta(minutes=5), timedelta(hours=2)


class Map:
    """Admission with the sites `one`, `two` and `three`, whose Slurm says what it is told to."""

    def __init__(self, world: World, **sites: dict[str, Any]) -> None:
        self.world = world
        section = world.config.sites["dev"]
        made = {name: section.model_copy(update=sites.get(name, {})) for name in ("one", "two", "three")}  # fmt: skip
        self.config = world.config.model_copy(update={"sites": made})
        self.says: dict[str, timedelta | Exception | None] = dict.fromkeys(made, timedelta())
        self.trouble: dict[str, str] = {}
        self.asked: list[Job] = []
        approve(world.database)
        platforms = {name: each.platform for name, each in made.items()}
        crane = Crane(ImagesSection(crane="/none/crane"))
        self.admission = Admission(
            self.config,
            world.database,
            world.store,
            ImageRegistry(world.database, crane, platforms),
            self._start,
            self.trouble.get,
        )
        world.bucket.put(f"{world.prefix}a.txt", b"abc")

    def _start(self, job: Job) -> datetime | None:
        self.asked.append(job)
        said = self.says[job.site]
        if isinstance(said, Exception):
            raise said
        return None if said is None else datetime.now(UTC) + said

    def body(self, **fields: Any) -> dict[str, Any]:
        """A request."""
        place = f"{self.world.bucket.bucket}/{self.world.prefix}"
        given = {"cluster": "any", "image": "ghcr.io/kbase/sum:1.0", "input_files": [f"{place}a.txt"]}  # fmt: skip
        return given | {"output_dir": f"{place}out"} | fields

    def admit(self, key: str | None = None, **fields: Any) -> Job:
        """Ask for a job."""
        return self.admission.admit(ALICE, self.body(**fields), key)

    def refused(self, **fields: Any) -> GatewayError:
        """Ask for a job that no site takes."""
        with pytest.raises(GatewayError) as caught:
            self.admit(**fields)
        return caught.value

    def why(self, job: Job) -> str:
        """What the history of a job says of its site."""
        jobs = JobService(self.world.database, self.admission, None, lambda _: None)  # type: ignore[arg-type]
        return jobs.status(ALICE, job.id or 0).transition_times[0].detail or ""


@pytest.fixture
def sites(world: World) -> Map:
    return Map(world)


def test_the_site_that_would_start_first_is_taken_and_the_job_is_as_if_it_had_named_it(
    sites: Map,
) -> None:
    sites.says = {"one": LATER, "two": SOON, "three": None}
    job = sites.admit()
    assert (job.site, job.job_input["cluster"]) == ("two", "two")
    why = sites.why(job)
    assert why.startswith("any site: two is taken; would start: two at 20")
    assert why.endswith("; three at a time that is not known")


def test_sites_are_asked_with_the_job_as_it_would_be_there(world: World) -> None:
    sites = Map(world, two={"partition": "fast", "account": "lab"})
    sites.admit(cpus=2)
    asked = {job.site: job for job in sites.asked}
    assert (asked["two"].partition, asked["two"].account, asked["two"].cpus) == ("fast", "lab", 2)
    assert asked["one"].partition is None
    assert {job.id for job in sites.asked} == {None}


def test_of_sites_that_start_as_early_the_first_of_the_configuration_is_taken(sites: Map) -> None:
    sites.says = {"one": LATER, "two": timedelta(seconds=20), "three": timedelta(seconds=-5)}
    job = sites.admit()
    assert job.site == "two"
    assert "two at once; three at once; one at 20" in sites.why(job)


@pytest.mark.parametrize(
    ("says", "taken"),
    [
        ((None, LATER, LATER), "two"),  # what is known goes before what is not
        ((None, None, SubmitLaterError("DOWN")), "one"),
        ((SubmitLaterError("DOWN"), None, None), "two"),
        ((SubmitLaterError("DOWN"), SubmitLaterError("DOWN"), SiteError("x")), "one"),
        ((SiteError("x"), SubmitRefusedError("no"), LATER), "three"),
    ],
)
def test_the_less_is_known_the_later_a_site_comes(sites: Map, says: Any, taken: str) -> None:
    sites.says = dict(zip(("one", "two", "three"), says, strict=True))
    assert sites.admit().site == taken


def test_only_sites_that_take_offer_and_run_the_job_are_asked(world: World) -> None:
    sites = Map(
        world,
        one={"active": False, "inactive_reason": "maintenance"},
        two={"gpus_per_node": 2, "platform": "linux/arm64"},
        three={"gpus_per_node": 1},
    )
    job = sites.admit(gpus=1)
    assert job.site == "three"
    assert [each.site for each in sites.asked] == ["three"]
    why = sites.why(job)
    assert (
        "left out: one: The site one takes no jobs now: maintenance; two: image: the image" in why
    )
    said = sites.refused(gpus=2)
    assert said.code is AppCode.ILLEGAL_PARAMETER
    lines = [detail.msg for detail in said.details]
    assert [line.partition(": ")[0] for line in lines] == ["two", "three", "one"]
    assert lines[1] == "three: gpus: must be at most 1 at three, the GPUs of one node: 2; ask for fewer and use more containers"  # fmt: skip
    assert said.message == f"cluster: no site takes this job now; {lines[0]} (and 2 more)"


def test_a_site_whose_accounts_are_others_is_left_out(world: World) -> None:
    sites = Map(world, one={"accounts": {"lab": ("bob",)}})
    assert sites.admit().site == "two"


def test_sites_that_do_not_answer_are_left_out_and_told_when_none_is_left(sites: Map) -> None:
    sites.trouble["one"] = "squeue: Unable to contact slurm controller"
    sites.says |= {"two": SiteError("no connection")}
    job = sites.admit()
    assert job.site == "three"
    assert "one: The site one does not answer as it should: squeue: Unable to contact" in sites.why(job)  # fmt: skip
    assert {each.site for each in sites.asked} == {"two", "three"}
    sites.says |= {"three": SubmitRefusedError("Invalid qos specification")}
    said = sites.refused()
    assert said.code is AppCode.SITE_UNAVAILABLE
    assert "one does not answer as it should" in said.message
    assert "three: Slurm refuses the job: Invalid qos specification" in {d.msg for d in said.details}  # fmt: skip


def test_where_all_are_switched_off_it_says_so(sites: Map) -> None:
    switches = Sites(sites.world.database, sites.config.sites, lambda _: None, lambda _: None)
    for name in ("one", "two", "three"):
        switches.switch(ADA, name, active=False, reason="power cut")
    said = sites.refused()
    assert said.code is AppCode.SITE_INACTIVE
    assert len(said.details) == 3
    switches.switch(ADA, "three", active=True)
    assert sites.admit().site == "three"


def test_with_one_site_its_rule_is_told_as_if_it_had_been_named(world: World) -> None:
    sites = Map(world)
    del sites.config.sites["two"], sites.config.sites["three"]
    named, open_ = sites.refused(cluster="one", cpus=99), sites.refused(cpus=99)
    assert (open_.code, open_.message, open_.details) == (named.code, named.message, named.details)
    assert sites.admit().site == "one"


def test_a_job_that_names_its_site_asks_no_slurm(sites: Map) -> None:
    sites.says = {"one": SiteError("x"), "two": SiteError("x"), "three": SiteError("x")}
    sites.trouble["one"] = "away"
    job = sites.admit(cluster="one")
    assert job.site == "one"
    assert sites.why(job) == ""
    assert sites.asked == []


def test_a_request_that_breaks_another_rule_is_refused_before_slurm_is_asked(world: World) -> None:
    sites = Map(world)
    sites.config = sites.config.model_copy(update={"path_rules": (PathRule(path="x/y", perm="read"),)})  # fmt: skip
    sites.admission._config = sites.config
    assert sites.refused().code is AppCode.S3_PATH_INACCESSIBLE
    assert sites.asked == []


def test_the_same_request_again_stays_where_it_is(sites: Map) -> None:
    first = sites.admit(key="k")
    sites.says |= {"one": LATER}
    again = sites.admit(key="k")
    assert (again.id, again.site, first.site) == (first.id, "one", "one")
    assert sites.admit(key="other").site == "two"
    sites.says |= {"two": SiteError("x"), "three": SiteError("x")}
    assert sites.admit(key="k").id == first.id


def test_a_dry_run_says_which_and_why(sites: Map) -> None:
    sites.says |= {"one": LATER}
    checked = sites.admission.check(ALICE, sites.body())
    shown = preview.dry_run(checked, [])
    assert shown.cluster == "two"
    assert (shown.cluster_choice or "").startswith("any site: two is taken; would start: two at once")  # fmt: skip
    named = preview.dry_run(sites.admission.check(ALICE, sites.body(cluster="one")), [])
    assert (named.cluster, named.cluster_choice) == ("one", None)


@pytest.mark.parametrize(
    ("states", "taken"),
    [
        ({}, "one"),
        ({"three": "complete"}, "three"),
        ({"one": "error", "two": "download_submitted"}, "two"),
        ({"one": "error", "two": "error", "three": "error"}, "one"),
        ({"one": "complete", "two": "complete"}, "two"),
    ],
)
def test_a_site_that_has_the_reference_data_goes_first(
    sites: Map, states: dict[str, str], taken: str
) -> None:
    now = datetime.now(UTC)
    with sites.world.database.write() as session:
        data = Refdata(bucket="b", key="k", size=1, etag="e", unpack=False, registered_by="ada", registered_on=now)  # fmt: skip
        session.add(data)
        session.flush()
        image = session.get(Image, 1)
        assert image is not None
        image.refdata_id, image.default_refdata_mount_point = data.id, "/ref"
        session.add(image)
        for name, state in states.items():
            session.add(RefdataSite(refdata_id=data.id or 0, site=name, state=state))
    sites.says |= {"one": SOON} if taken == "two" else {}
    job = sites.admit()
    assert job.site == taken
    if states == {"three": "complete"}:
        assert "one at once, its reference data is not there" in sites.why(job)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a site waits for that does not answer."""
    event = threading.Event()
    yield event
    event.set()


def test_all_are_asked_at_one_time_and_none_longer_than_the_bound(gate: threading.Event) -> None:
    together = threading.Barrier(3)

    def slow(job: Job) -> datetime | None:
        together.wait(10)
        if job.site == "one":
            gate.wait(10)
        return None

    fitting = Fitting(["one", "two", "three"])
    jobs = {name: Job(site=name) for name in fitting.left}  # type: ignore[call-arg]
    pick = first_to_start(fitting, jobs, slow, {}, 0.5)
    assert pick.site == "two"
    assert "one: The site one does not answer as it should: it gave no answer in 0.5 s" in pick.why


def test_a_rule_leaves_those_that_keep_it_and_says_why_of_the_others() -> None:
    def only(*names: str) -> Callable[[str], str]:
        def rule(name: str) -> str:
            if name not in names:
                raise GatewayError(AppCode.ILLEGAL_PARAMETER, f"not {name}.")
            return name.upper()

        return rule

    fitting = Fitting(["a", "b", "c"])
    assert fitting.keep(only("a", "b")) == {"a": "A", "b": "B"}
    assert fitting.left == ["a", "b"]
    with pytest.raises(
        GatewayError, match=r"no site takes this job now; a: not a\. \(and 2 more\)"
    ):
        fitting.keep(only("c"))
