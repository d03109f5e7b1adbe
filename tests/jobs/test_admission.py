"""Taking a job in: every rule before anything is stored, and all of it or nothing."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import pytest
from awscrt.checksums import crc64nvme
from sqlalchemy import text
from sqlmodel import select

from gateway.config import ImagesSection, PathRule, StoreSection
from gateway.errors import AppCode, GatewayError, StoreError
from gateway.images.crane import Crane
from gateway.images.service import ImageRegistry
from gateway.jobs.admission import Admission
from gateway.jobs.caller import Caller
from gateway.jobs.limits import Seen
from gateway.slurm.submit_limits import Most, SubmitLimits
from gateway.store import jobs as store
from gateway.store.tables import Audit, Container, InputFile, Job, Transition
from gateway.wire import SlurmPartition
from tests.daemon.world import ADA, ALICE, World, approve


class Desk:
    """Admission at a world, with some files in its bucket."""

    def __init__(self, world: World, rules: Sequence[PathRule] = (), **site: Any) -> None:
        self.world = world
        section = world.config.sites["dev"].model_copy(update=site)
        config = world.config.model_copy(
            update={"sites": {"dev": section}, "path_rules": tuple(rules)}
        )
        registry = ImageRegistry(world.database, Crane(ImagesSection(crane="/none/crane")))
        self.seen = Seen()
        self._admission = Admission(
            config, world.database, world.store, registry, seen=lambda _: self.seen
        )
        self.bucket = world.bucket.bucket
        approve(world.database)

    def file(self, name: str, data: bytes = b"abc") -> str:
        """Put an object there; returns its name."""
        self.world.bucket.put(f"{self.world.prefix}{name}", data)
        return f"{self.bucket}/{self.world.prefix}{name}"

    def body(self, **fields: Any) -> dict[str, Any]:
        """A request that is taken."""
        given: dict[str, Any] = {"cluster": "dev", "image": "ghcr.io/kbase/sum:1.0"}
        if "input_files" not in fields:
            given["input_files"] = [self.file("a.txt")]
        return given | {"output_dir": f"{self.bucket}/{self.world.prefix}out"} | fields

    def admit(self, caller: Caller = ALICE, key: str | None = None, **fields: Any) -> Job:
        """Ask for a job."""
        return self._admission.admit(caller, self.body(**fields), key)

    def refused(self, caller: Caller = ALICE, **fields: Any) -> GatewayError:
        """Ask for a job that is refused; nothing of it may stay."""
        with pytest.raises(GatewayError) as caught:
            self.admit(caller, **fields)
        assert self.rows() == 0
        return caught.value

    def rows(self) -> int:
        """How many rows of jobs there are, of any kind."""
        tables = (Job, Container, InputFile, Transition, Audit)
        with self.world.database.read() as session:
            counts = [
                session.execute(text(f"SELECT count(*) FROM {t.__tablename__}")).scalar_one()
                for t in tables
            ]
        return sum(counts)


@pytest.fixture
def desk(world: World) -> Desk:
    """Admission as it comes."""
    return Desk(world)


def _crc(data: bytes) -> str:
    return base64.b64encode(crc64nvme(data).to_bytes(8, "big")).decode()


def test_a_job_is_stored_whole_with_its_image_pinned_and_its_inputs_as_s3_showed_them(
    desk: Desk,
) -> None:
    files = [desk.file(f"{n}.txt", b"x" * n) for n in range(1, 6)]
    args = ["--in", {"type": "input_files", "input_files_format": "space_separated_list"}]
    job = desk.admit(input_files=files, num_containers=2, params={"args": args})
    world, number = desk.world, job.id or 0
    assert (job.user, job.phase, job.num_containers, job.input_bytes) == ("alice", "created", 2, 15)
    assert job.image["digest"] == "sha256:" + "a" * 64
    assert job.output_dir == f"{desk.bucket}/{world.prefix}out/"
    assert len(job.token) == 64
    assert world.phases(number) == ["created"]
    with world.database.read() as session:
        shares = [[row.path for row in store.inputs(session, number, n)] for n in range(2)]
        sizes = [row.size for row in store.inputs(session, number)]
        audits = session.exec(select(Audit)).all()
    assert shares == [["1.txt", "2.txt", "3.txt"], ["4.txt", "5.txt"]]
    assert sizes == [1, 2, 3, 4, 5]
    assert [(row.user, row.action, row.target) for row in audits] == [
        ("alice", "job.submit", str(number))
    ]
    with world.database.read() as session:
        args_of = [session.get(Container, (number, n)).args for n in range(2)]  # type: ignore[union-attr]
    assert all(path in " ".join(args_of[0]) for path in ("1.txt", "2.txt", "3.txt"))
    assert not any(path in " ".join(args_of[1]) for path in ("1.txt", "2.txt", "3.txt"))


def test_each_job_has_a_token_of_its_own(desk: Desk) -> None:
    assert desk.admit().token != desk.admit().token


def test_a_site_that_is_not_there_is_refused_with_those_that_are(desk: Desk) -> None:
    error = desk.refused(cluster="perlmutter")
    assert error.code is AppCode.ILLEGAL_PARAMETER
    assert error.message == "cluster: there is no site 'perlmutter'; the sites are dev."


@pytest.mark.parametrize(("why", "said"), [("maintenance until noon", "maintenance until noon"), (None, "switched off")])  # fmt: skip
def test_a_site_that_is_switched_off_takes_no_jobs_and_says_why(
    world: World, why: str | None, said: str
) -> None:
    error = Desk(world, active=False, inactive_reason=why).refused()
    assert error.code is AppCode.SITE_INACTIVE
    assert error.message == f"The site dev takes no jobs now: {said}."


def test_where_a_job_goes_in_slurm_is_kept_with_the_sites_own_filled_in(world: World) -> None:
    desk = Desk(world, partition="regular", account="dev", qos_offered={"low": 0}, gpus_per_node=2)
    job = desk.admit(qos="low", gpus=2)
    assert (job.partition, job.qos, job.account) == ("regular", "low", "dev")
    assert job.job_input["gpus"] == 2
    assert "partition" not in job.job_input


def test_what_a_site_does_not_offer_is_refused_before_anything_is_stored(desk: Desk) -> None:
    error = desk.refused(gpus=1)
    assert error.code is AppCode.ILLEGAL_PARAMETER
    assert error.message == "gpus: dev has no GPUs; leave it out, or use another site"


def test_an_image_that_is_not_approved_is_refused_with_whom_to_ask(desk: Desk) -> None:
    error = desk.refused(image="ghcr.io/kbase/other:1.0")
    assert error.code is AppCode.NO_SUCH_IMAGE
    assert "ask an admin to run: cts admin image approve ghcr.io/kbase/other:1.0" in error.message


@pytest.mark.parametrize(
    "fields",
    [{"cpus": 5}, {"memory": "2GB"}, {"runtime": "P10D"}, {"cpus": 4, "runtime": "PT40H"}],
    ids=["cpus", "memory", "runtime", "cpu-hours"],
)
def test_more_than_the_site_has_is_refused(desk: Desk, fields: dict[str, Any]) -> None:
    error = desk.refused(**fields)
    assert error.code in (AppCode.ILLEGAL_PARAMETER, AppCode.REQUEST_VALIDATION)
    assert "dev" in error.message


def test_an_object_that_is_not_there_is_named(desk: Desk) -> None:
    missing = f"{desk.bucket}/{desk.world.prefix}none.txt"
    error = desk.refused(input_files=[desk.file("a"), missing])
    assert error.code is AppCode.S3_PATH_NOT_FOUND
    assert missing in error.message


def test_an_output_bucket_that_is_not_there_is_named(desk: Desk) -> None:
    error = desk.refused(output_dir="no-such-bucket-at-all/x")
    assert error.code is AppCode.S3_BUCKET_NOT_FOUND
    assert "no-such-bucket-at-all" in error.message


def test_a_store_that_is_away_is_told_and_nothing_is_stored(desk: Desk) -> None:
    desk.world.store.away = True
    assert desk.refused().code is AppCode.RESOURCE_UNAVAILABLE


def test_a_checksum_that_is_not_that_of_the_object_is_refused_with_both(desk: Desk) -> None:
    good, bad = _crc(b"abc"), _crc(b"abd")
    name = desk.file("sum.txt")
    desk.world.bucket.put(
        f"{desk.world.prefix}sum.txt", b"abc", ChecksumAlgorithm="CRC64NVME", ChecksumCRC64NVME=good
    )
    error = desk.refused(input_files=[{"file": name, "crc64nvme": bad}])
    assert error.code is AppCode.CHECKSUM_MISMATCH
    assert error.message == f"{name}: the request gives the CRC64NVME {bad}, S3 has {good}."


def test_a_checksum_that_was_given_is_checked_on_the_node_and_one_that_s3_has_is_shown(
    desk: Desk,
) -> None:
    names = [desk.file("plain.txt"), desk.file("given.txt")]
    files = [{"file": names[0]}, {"file": names[1], "crc64nvme": _crc(b"abc")}]
    number = desk.admit(input_files=files).id or 0
    with desk.world.database.read() as session:
        plain, given = store.inputs(session, number)
    assert (plain.check_crc64nvme, given.check_crc64nvme) == (False, True)
    assert given.crc64nvme == _crc(b"abc")


def _rules(desk_bucket: str, prefix: str) -> list[PathRule]:
    return [
        PathRule(path=f"{desk_bucket}/{prefix}", perm="read"),
        PathRule(path=f"{desk_bucket}/{prefix}{{user}}", perm="write"),
        PathRule(path=f"{desk_bucket}/{prefix}{{group}}-group", perm="write"),
        PathRule(path=f"{desk_bucket}/{prefix}staff", perm="write", groups=("staff",)),
    ]


@pytest.mark.parametrize(
    ("below", "taken"),
    [("alice", True), ("alice/x/y", True), ("users-group/x", True), ("bob/x", False), ("alicex", False), ("staff/x", False), ("", False)],
)  # fmt: skip
def test_the_path_rules_say_where_a_user_may_write(world: World, below: str, taken: bool) -> None:
    desk = Desk(world, _rules(world.bucket.bucket, world.prefix))
    out = f"{desk.bucket}/{world.prefix}{below}"
    if taken:
        desk.admit(output_dir=out)
        return
    error = desk.refused(output_dir=out)
    assert error.code is AppCode.S3_PATH_INACCESSIBLE
    assert error.message.startswith(f"alice may not write {out.rstrip('/')}")
    assert f"allowed: {desk.bucket}/{world.prefix}alice" in error.message


def test_an_input_that_a_user_may_not_read_is_refused_before_s3_is_asked(world: World) -> None:
    desk = Desk(world, [PathRule(path=f"{world.bucket.bucket}/other", perm="write")])
    error = desk.refused(output_dir=f"{desk.bucket}/other/x")
    assert error.code is AppCode.S3_PATH_INACCESSIBLE
    assert f"alice may not read {desk.bucket}/{world.prefix}a.txt" in error.message
    assert world.store.looked == []


def test_a_right_to_write_is_one_to_read_and_admins_may_everywhere(world: World) -> None:
    desk = Desk(world, [PathRule(path=f"{world.bucket.bucket}/{world.prefix}", perm="write")])
    desk.admit()
    desk.admit(ADA, input_files=[desk.file("b.txt")], output_dir=f"{desk.bucket}/elsewhere")


@pytest.mark.parametrize("table", ["container", "input_file", "transition", "audit"])
def test_a_failure_in_the_middle_leaves_no_row_of_the_job(desk: Desk, table: str) -> None:
    with desk.world.database.engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TRIGGER fails BEFORE INSERT ON {table} BEGIN SELECT RAISE(FAIL, 'disk full'); END"
        )
    with pytest.raises(StoreError):
        desk.admit()
    assert desk.rows() == 0
    with desk.world.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER fails")
    assert desk.admit().id == 1


def test_files_that_would_land_at_one_place_are_refused(desk: Desk) -> None:
    assert desk.refused(input_files=[desk.file("x/a"), desk.file("y/a")]).code is AppCode.ILLEGAL_PARAMETER  # fmt: skip


@pytest.mark.parametrize("body", [None, [], "x", 7, {"cluster": "dev"}])
def test_what_is_no_job_is_refused(desk: Desk, body: object) -> None:
    with pytest.raises(GatewayError):
        desk._admission.admit(ALICE, body)
    assert desk.rows() == 0


def test_what_is_stored_can_be_submitted_and_run(desk: Desk) -> None:
    world = desk.world
    number = desk.admit().id or 0
    world.submitter.tick()
    answer = world.ask(number, "stage-in", inputs=[1])
    assert answer["error"] is None
    world.complete(number, "100")
    world.poll()
    assert world.job(number).phase == "complete"
    key = f"{world.prefix}out/out-0.txt"
    assert world.bucket.get(key) == b"done"


def test_a_bucket_that_is_in_no_store_is_refused_with_its_field(make_world: Any) -> None:
    world = make_world()
    mine = world.bucket.bucket
    s3 = world.config.s3.model_copy(update={"buckets": (mine,)})
    world.config = world.config.model_copy(update={"s3": s3})
    desk = Desk(world)
    good = desk.file("a.txt")
    for field, fields in (
        ("input_files[1]", {"input_files": [good, "other/x"]}),
        ("shared_inputs[0]", {"shared_inputs": ["other/x"]}),
        ("input_dirs[0]", {"input_dirs": ["other/x"]}),
        ("input_globs[0]", {"input_globs": ["other/x*"]}),
        ("output_dir", {"output_dir": "other/x"}),
    ):
        refused = desk.refused(**fields)
        assert refused.code is AppCode.ILLEGAL_S3_PATH
        assert refused.message == (
            f"{field}: The bucket 'other' lies in none of the object stores; their buckets are: {mine}. "
            "Use one of those, or ask the admins to add it to the buckets of one."
        )


def test_a_rule_for_a_bucket_says_nothing_of_a_store_that_is_named(make_world: Any) -> None:
    world = make_world()
    other = StoreSection(credentials_file=world.config.s3.credentials_file)
    s3 = world.config.s3.model_copy(update={"stores": {"cold": other}})
    world.config = world.config.model_copy(update={"s3": s3})
    desk = Desk(world, [PathRule(path=world.bucket.bucket, perm="write")])
    refused = desk.refused(output_dir=f"cold:{world.bucket.bucket}/x")
    assert refused.code is AppCode.S3_PATH_INACCESSIBLE
    assert refused.message.startswith(f"alice may not write cold:{world.bucket.bucket}/x/ here")


def test_a_job_that_its_partition_in_slurm_would_never_start_is_refused(world: World) -> None:
    desk = Desk(world, partitions={"regular": 0, "short": 0}, staging_minutes=10)
    assert desk.admit(runtime=3600, partition="short").id  # nothing is known of it
    desk.seen = Seen(
        [
            SlurmPartition(name="regular", state="UP", default=True, max_runtime_min=None, nodes=1),
            SlurmPartition(name="short", state="UP", default=False, max_runtime_min=30, nodes=1),
        ]
    )
    desk.admit(runtime=1200, partition="short")
    desk.admit(runtime=7200)
    with pytest.raises(GatewayError) as caught:
        desk.admit(runtime=1201, partition="short")
    assert caught.value.message == (
        "runtime: must be at most PT20M (20 minutes) with Slurm's partition short at dev, which gives a job 30 minutes, "
        "10 of them for staging: PT20M1S; ask for less, or name another partition"
    )


def test_a_job_that_is_longer_than_its_qos_or_its_account_may_be_in_slurm_is_refused(
    world: World,
) -> None:
    desk = Desk(world, qos_offered={"regular": 0, "debug": 0}, staging_minutes=10)
    assert desk.admit(runtime=7200, qos="debug").id  # nothing is known of it
    limits = SubmitLimits("lab", {"lab": Most(minutes=90)}, {"debug": Most(minutes=30)})
    desk.seen = Seen(limits=limits)
    desk.admit(runtime=1200, qos="debug")
    desk.admit(runtime=4800, qos="regular")
    said = (
        "runtime: must be at most {} with Slurm's {} at dev, which gives a job {} minutes, 10 of them for staging: {}; "
        "ask for less, or name another {}"
    )
    with pytest.raises(GatewayError) as caught:
        desk.admit(runtime=1201, qos="debug")
    assert caught.value.message == said.format(
        "PT20M (20 minutes)", "QOS debug", 30, "PT20M1S", "QOS"
    )
    with pytest.raises(GatewayError) as caught:
        desk.admit(runtime=4801)
    assert caught.value.message == said.format(
        "PT1H20M (80 minutes)", "account lab", 90, "PT1H20M1S", "account"
    )
