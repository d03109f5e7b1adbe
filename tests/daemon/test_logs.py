"""Logs: into S3 at a job's end, read from where they are, and gone from the site when they are of no use there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.daemon.clean import Cleaner
from gateway.daemon.logs import LogKeeper, LogRoad
from gateway.errors import AppCode, GatewayError, SiteError
from gateway.s3 import logs as s3_logs
from gateway.s3 import reach as s3_reach
from tests.daemon.world import World


def _ended(world: World, phase: str = "complete", containers: int = 2) -> int:
    """A job that has ended; container n wrote to its logs."""
    number = world.add(containers, phase=phase)
    for index in range(containers):
        world.folder(number, index).mkdir(parents=True)
        (world.folder(number, index) / "stdout").write_bytes(b"out %d\n" % index)
        (world.folder(number, index) / "stderr").write_bytes(b"")
    return number


def _area(world: World) -> str:
    return f"{world.bucket.bucket}/{world.prefix}logs"


def _keeper(world: World) -> LogKeeper:
    return LogKeeper(world.database, world.store, world.site, _area(world), world.clock)


def _road(world: World) -> LogRoad:
    return LogRoad(world.database, world.store, {"dev": world.site})


def _object(world: World, number: int, rest: str) -> bytes:
    key = f"{world.prefix}logs/{number}/{rest}"
    body: bytes = (
        world.store.store("").client.get_object(Bucket=world.bucket.bucket, Key=key)["Body"].read()
    )
    return body


@pytest.mark.parametrize("phase", ["complete", "error", "canceled"])
def test_the_logs_of_a_job_that_ended_anyhow_are_put_into_s3_and_the_job_says_where(
    world: World, phase: str
) -> None:
    number = _ended(world, phase)
    woken = world.site.clean_wake
    _keeper(world).tick()
    assert _object(world, number, "0/stdout") == b"out 0\n"
    assert _object(world, number, "1/stdout") == b"out 1\n"
    assert _object(world, number, "1/stderr") == b""
    job = world.job(number)
    assert job.logpath == f"{_area(world)}/{number}"
    assert job.reason is None
    assert woken.is_set()


def test_of_a_container_on_several_nodes_the_logs_of_each_are_put_into_s3(world: World) -> None:
    number = _ended(world, containers=1)
    job = world.job(number)
    world.change(job, job_input={**job.job_input, "nodes": 2})
    (world.folder(number) / "stdout.1").write_bytes(b"second")
    _keeper(world).tick()
    assert _object(world, number, "0/stdout") == b"out 0\n"
    assert _object(world, number, "0/stdout.1") == b"second"


def test_a_job_that_goes_on_keeps_its_logs_to_itself(world: World) -> None:
    number = _ended(world, "run")
    _keeper(world).tick()
    assert world.job(number).logpath is None


def test_a_job_whose_containers_wrote_no_log_has_no_place_of_them_and_is_not_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = world.add(phase="error")
    _keeper(world).tick()
    job = world.job(number)
    assert (job.logpath, job.logs_stored is not None) == (None, True)
    monkeypatch.setattr(world.site.hands, "size", pytest.fail)
    _keeper(world).tick()


def test_a_long_log_goes_up_in_parts_and_is_read_in_ranges(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = _ended(world, containers=1)
    data = bytes(range(256)) * 4096 * 18  # 18 MiB: three parts
    (world.folder(number) / "stdout").write_bytes(data)
    most: list[int] = []
    plain = s3_reach.content_md5
    monkeypatch.setattr(s3_reach, "content_md5", lambda part: most.append(len(part)) or plain(part))  # type: ignore[func-returns-value]
    _keeper(world).tick()
    assert max(most) == s3_logs.PART
    assert _object(world, number, "0/stdout") == data
    world.site.hands.remove([world.site.job_dir(number)])
    road = _road(world)
    assert road("dev", number, 0, "stdout", 0, 10) == (data[:10], len(data))
    assert road("dev", number, 0, "stdout", 9_000_000, 500) == (
        data[9_000_000:9_000_500],
        len(data),
    )
    assert road("dev", number, 0, "stdout", len(data) - 3, None) == (data[-3:], len(data))
    assert road("dev", number, 0, "stdout", len(data) + 5, 10) == (b"", len(data))
    assert road("dev", number, 0, "stderr", 0, 10) == (b"", 0)
    assert road("dev", number, 1, "stdout", 0, 10) is None


def test_a_store_that_is_away_loses_no_log_and_the_job_has_ended_and_says_why(world: World) -> None:
    number = _ended(world)
    keeper = _keeper(world)
    reach = world.store.store("")
    client, reach.client = reach.client, None  # type: ignore[assignment]
    reach.client = _Away(client)  # type: ignore[assignment]
    assert keeper.tick() == 15
    job = world.job(number)
    assert job.phase == "complete"
    assert (job.reason or "").startswith("its logs are not in S3 yet, and it is tried again: ")
    assert job.logpath is None
    assert Cleaner(world.database, world.site, uploads=True).tick() == 30
    assert (world.folder(number) / "stdout").exists()
    reach.client = client
    assert keeper.tick() == 15  # it is left alone for a while
    assert world.job(number).logpath is None
    world.clock.forward(16)
    assert keeper.tick() == 30
    job = world.job(number)
    assert (job.reason, job.logpath) == (None, f"{_area(world)}/{number}")


class _Away:
    """A client whose bucket is not there for writing."""

    def __init__(self, client: object) -> None:
        self._client = client

    def put_object(self, **_: object) -> None:
        from botocore.exceptions import EndpointConnectionError

        raise EndpointConnectionError(endpoint_url="https://s3")


def test_a_log_that_cannot_be_read_holds_up_no_other_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = _ended(world), _ended(world)
    read = world.site.hands.read_file

    def failing(path: str, offset: int = 0, length: int = 1) -> bytes | None:
        if path.startswith(f"{world.site.job_dir(bad)}/"):
            raise SiteError(f"cannot read {path}: Input/output error")
        return read(path, offset, length)

    monkeypatch.setattr(world.site.hands, "read_file", failing)
    _keeper(world).tick()
    assert "Input/output error" in (world.job(bad).reason or "")
    assert world.job(good).logpath is not None


def test_a_job_that_went_on_after_its_end_has_its_logs_stored_again(world: World) -> None:
    number = _ended(world, "error")
    _keeper(world).tick()
    world.change(world.job(number), updated=world.job(number).logs_stored)
    world.age(number, seconds=-60)  # it ended anew
    (world.folder(number) / "stdout").write_bytes(b"again\n")
    _keeper(world).tick()
    assert _object(world, number, "0/stdout") == b"again\n"


def test_a_directory_goes_when_its_job_is_cleaned_and_its_logs_are_in_s3(world: World) -> None:
    number, failed = _ended(world), _ended(world, "error")
    cleaner = Cleaner(world.database, world.site, uploads=True)
    cleaner.tick()
    assert (world.folder(number) / "stdout").exists()
    _keeper(world).tick()
    cleaner.tick()
    assert not Path(world.site.job_dir(number)).exists()
    assert (world.folder(failed) / "stdout").exists()
    world.change(world.job(failed), cleaned=True)
    cleaner.tick()
    assert not Path(world.site.job_dir(failed)).exists()
    assert _road(world)("dev", failed, 0, "stdout", 0, None) == (b"out 0\n", 6)


def test_logs_that_are_not_put_into_s3_stay_for_the_days_of_the_configuration(world: World) -> None:
    number = _ended(world)
    world.age(number, days=89)
    world.cleaner.tick()
    assert _road(world)("dev", number, 0, "stdout", 0, None) == (b"out 0\n", 6)
    world.age(number, days=91)
    world.cleaner.tick()
    assert not Path(world.site.job_dir(number)).exists()
    with pytest.raises(GatewayError, match="are not kept any more") as caught:
        _road(world)("dev", number, 0, "stdout", 0, None)
    assert caught.value.code is AppCode.NO_LOGS


@pytest.mark.parametrize(("clean", "goes"), [("asked", False), ("forced", True)])
def test_what_an_admin_wants_gone_waits_for_its_logs_to_be_stored_unless_it_is_forced(
    world: World, clean: str, goes: bool
) -> None:
    number = _ended(world, "error")
    world.change(world.job(number), clean=clean)
    cleaner = Cleaner(world.database, world.site, uploads=True)
    cleaner.tick()
    assert Path(world.site.job_dir(number)).exists() != goes
    _keeper(world).tick()
    cleaner.tick()
    assert not Path(world.site.job_dir(number)).exists()
    job = world.job(number)
    assert (job.cleaned, job.logs_cleaned, job.clean) == (True, True, None)


def test_logs_are_read_from_s3_when_the_site_is_away_or_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = _ended(world)
    nowhere = LogRoad(world.database, world.store, {})
    with pytest.raises(GatewayError, match="not configured any more"):
        nowhere("dev", number, 0, "stdout", 0, None)
    _keeper(world).tick()
    assert nowhere("dev", number, 1, "stdout", 4, 1) == (b"1", 6)

    def away(path: str) -> int:
        raise SiteError("the site's helper died")

    monkeypatch.setattr(world.site.hands, "size", away)
    assert _road(world)("dev", number, 1, "stdout", 0, None) == (b"out 1\n", 6)
    world.change(world.job(number), logpath=None)
    with pytest.raises(SiteError):
        _road(world)("dev", number, 1, "stdout", 0, None)


def test_a_daemon_with_a_log_area_stores_logs_when_a_job_ends(
    make_world: Callable[..., World], world: World
) -> None:
    from gateway.config import DatabaseSection
    from gateway.daemon.gateway import Gateway

    world.site.close()
    s3 = world.config.s3.model_copy(update={"log_bucket_prefix": _area(world)})
    database = DatabaseSection(url=f"sqlite:///{world.database.file}")
    gateway = Gateway(world.config.model_copy(update={"s3": s3, "database": database}))
    try:
        number = _ended(world)
        next(loop for loop in gateway.loops if loop.name == "logs:dev").tick()
        assert world.job(number).logpath == f"{_area(world)}/{number}"
    finally:
        gateway.close()
