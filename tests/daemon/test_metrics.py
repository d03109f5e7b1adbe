"""Metrics: what is measured, what is counted, and that Prometheus' own parser reads it."""

from __future__ import annotations

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.daemon.gateway import Gateway
from gateway.daemon.loops import Loop
from gateway.daemon.mailbox import Mailbox
from gateway.daemon.measured import MeasuredBackend
from gateway.daemon.metrics import Metrics
from gateway.daemon.poll import Poller
from gateway.errors import GatewayError, SiteError, StoreError
from gateway.s3.client import ObjectStore, S3UnavailableError
from gateway.slurm.protocol import SubmitLaterError, SubmitRefusedError
from gateway.store.jobs import now
from tests.daemon.test_gateway import gateway
from tests.daemon.world import World

__all__ = ["gateway"]


def values(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The samples of a name, by the values of their labels in the order of the labels' names."""
    return {
        tuple(sample.labels[key] for key in sorted(sample.labels)): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name == name
    }


def test_a_loops_rounds_are_timed_and_the_last_good_one_is_known() -> None:
    metrics, stop = Metrics(), threading.Event()
    rounds = iter([7.0, None, 3.0])

    def tick() -> float:
        wait = next(rounds)
        if wait is None:
            raise SiteError("away")
        if wait == 3.0:
            stop.set()
        return wait

    wake = threading.Event()
    wake.wait = lambda timeout=None: True  # type: ignore[method-assign]
    loop = Loop("poll:dev", tick, wake, stop)
    metrics.watch_loop(loop)
    before = now().timestamp()
    loop.start()
    loop.join(10)
    count = values(metrics, "cts_loop_seconds_count")
    assert count == {("poll", "ok", "dev"): 2, ("poll", "trouble", "dev"): 1}
    assert values(metrics, "cts_loop_period_seconds") == {("poll", "dev"): 3.0}
    (last,) = values(metrics, "cts_loop_last_success_timestamp_seconds").values()
    assert before <= last <= now().timestamp()


def test_calls_to_slurm_are_told_by_what_came_of_them(world: World) -> None:
    metrics = Metrics()
    world.site.backend = MeasuredBackend(world.slurm, "dev", metrics)
    world.restart()
    assert world.site.backend.name == world.slurm.name
    assert world.site.backend.late == world.slurm.late
    number, _ = world.submit()
    world.poll()
    for error in (SubmitRefusedError("no"), SubmitLaterError("full"), SiteError("away")):
        world.slurm.answers = [error]
        with pytest.raises(type(error)):
            world.site.backend.submit("any")
    world.cancel(number)
    world.poll()
    found = values(metrics, "cts_slurm_call_seconds_count")
    assert {key: found[key] for key in found if key[0] == "submit"} == {
        ("submit", "ok", "dev"): 1,
        ("submit", "refused", "dev"): 1,
        ("submit", "later", "dev"): 1,
        ("submit", "no answer", "dev"): 1,
    }
    assert found["queue", "ok", "dev"] == world.slurm.calls["queue"]
    assert found["cancel", "ok", "dev"] == len(world.slurm.canceled) == 1


def test_every_call_to_slurm_goes_through_and_is_counted(world: World) -> None:
    metrics = Metrics()
    backend = MeasuredBackend(world.slurm, "dev", metrics)
    script = world.site.work + "/any"
    backend.queue()
    backend.accounting(now())
    backend.cancel(["1"])
    assert backend.limits() == world.slurm.limits()
    assert backend.partitions() == world.slurm.partitions()
    with pytest.raises(FileNotFoundError):
        backend.expected_start(script, 1)
    assert backend.show(["7"], 1).controller == {"jobs": ["7"]}
    backend.close()
    calls = {key[0] for key in values(metrics, "cts_slurm_call_seconds_count")}
    assert calls == {
        "queue",
        "accounting",
        "cancel",
        "limits",
        "partitions",
        "expected_start",
        "show",
    }


def test_calls_to_the_object_store_are_told_by_status_and_presigning_is_none(world: World) -> None:
    metrics = Metrics()
    metrics.watch_store("", world.store)
    world.bucket.put("here", b"abc")
    world.store.inspect(world.bucket.bucket, "here")
    with pytest.raises(GatewayError):
        world.store.inspect(world.bucket.bucket, "gone")
    world.store.grant_get(world.bucket.bucket, "here")
    found = values(metrics, "cts_s3_call_seconds_count")
    assert found["HeadObject", "200", "s3"] == 1
    assert found["HeadObject", "404", "s3"] >= 1
    assert not any(key[0] == "GetObject" for key in found)


def test_an_object_store_that_does_not_answer_is_counted_so(world: World) -> None:
    metrics = Metrics()
    nobody = world.config.s3.model_copy(update={"endpoint_url": "http://127.0.0.1:1"})
    store = ObjectStore(nobody, connect_timeout=1)
    metrics.watch_store("", store)
    with pytest.raises(S3UnavailableError):
        store.inspect("any", "here")
    found = values(metrics, "cts_s3_call_seconds_count")
    assert {key[:2] for key in found} == {("HeadObject", "none")}


def test_what_the_database_takes_is_told_by_kind(world: World) -> None:
    metrics = Metrics()
    metrics.watch_database(world.database)
    before = values(metrics, "cts_database_seconds_count")
    world.add()
    world.containers(1)
    after = values(metrics, "cts_database_seconds_count")
    for kind in ("lock", "read", "commit"):
        assert after[(kind,)] > before.get((kind,), 0), kind


def test_jobs_and_what_waits_are_counted_when_somebody_looks(world: World) -> None:
    metrics = Metrics()
    metrics.watch_database(world.database)
    world.submit()
    world.add(3)
    world.change(world.job(world.add(2)), site="other")
    assert values(metrics, "cts_jobs") == {
        ("created", "dev"): 1,
        ("created", "other"): 1,
        ("pending", "dev"): 1,
    }
    assert values(metrics, "cts_queued_containers") == {("dev",): 3, ("other",): 2}
    oldest = values(metrics, "cts_queue_oldest_seconds")
    assert set(oldest) == {("dev",), ("other",)}
    assert all(0 <= age < 60 for age in oldest.values())


def test_a_database_that_is_away_takes_nothing_but_its_own_numbers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    metrics.watch_database(world.database)
    world.add()

    def away() -> None:
        raise StoreError("away")

    monkeypatch.setattr(world.database, "read", away)
    text = metrics.text().decode()
    assert "cts_build_info{" in text
    assert "cts_jobs{" not in text


def test_grants_and_bytes_are_noted(world: World) -> None:
    metrics = Metrics()
    world.mailbox = Mailbox(
        *(world.config, world.database, world.store, world.site, world.clock),
        on_answer=lambda seconds: metrics.granted("dev", "mailbox", seconds),
    )
    world.poller = Poller(
        *(world.database, world.store, world.site, world.clock),
        on_end=lambda container: metrics.ended("dev", container.result or {}),
    )
    number, slurm = world.submit()
    world.upload(number, {"out.txt": b"done"})
    world.result(number, outputs=["out.txt"], bytes_in=3000, bytes_out=4)
    world.slurm.set(slurm, 0, "COMPLETED", node="n1")
    world.settle()
    assert world.job(number).phase == "complete"
    world.settle()
    assert values(metrics, "cts_grant_seconds_count") == {("mailbox", "dev"): 1}
    assert values(metrics, "cts_staged_bytes_total") == {("in", "dev"): 3000, ("out", "dev"): 4}


def test_the_daemon_measures_all_of_it(world: World, gateway: Gateway) -> None:
    world.add()
    text = gateway.services.metrics.text().decode()
    assert 'cts_jobs{phase="created",site="dev"} 1.0' in text
    assert 'cts_database_seconds_count{kind="read"}' in text
    assert all(loop.on_round is not None for loop in gateway.loops)
    names = {family.name for family in text_string_to_metric_families(text)}
    assert names >= {"process_resident_memory_bytes", "process_open_fds", "cts_build_info"}
