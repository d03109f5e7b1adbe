"""The mailbox: each kind of letter does what it says, and none that is wrong blocks another."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.counting import peak, writes
from tests.daemon.world import World, announced


def test_an_answer_is_a_file_for_its_container_alone_at_the_place_of_the_protocol(
    world: World,
) -> None:
    number, _ = world.submit(2)
    path = world.letter(number, "stage-in", 1, inputs=[2], slurm_job_id="881")
    world.mailbox.tick()
    assert path == Path(world.site.job_dir(number)) / "1" / "grants" / path.name
    assert path.name.startswith("881.")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    answer = json.loads(path.read_text())
    assert set(answer) == {"version", "seq", "expires", "error", "inputs", "outputs"}
    assert (answer["version"], answer["error"], answer["outputs"]) == (1, None, [])
    assert 0 < answer["expires"] - time.time() <= world.config.s3.grant_seconds
    assert world.letters() == []


def test_a_phase_moves_its_container_and_its_job_and_names_the_node(world: World) -> None:
    number, _ = world.submit(2)
    world.poll()
    assert world.job(number).reason == "waits behind jobs of higher priority (Priority)"
    world.letter(number, "phase", 1, phase="run", host="n2", time="2026-11-24T06:00:00.000Z")
    world.mailbox.tick()
    assert [c.phase for c in world.containers(number)] == ["pending", "run"]
    assert world.container(number, 1).node == "n2"
    assert (world.job(number).phase, world.job(number).reason) == ("run", None)
    assert world.letters() == []


def test_a_phase_that_comes_late_moves_nothing_back(world: World) -> None:
    number, _ = world.submit()
    for phase in ("stage-out", "stage-in"):
        world.letter(number, "phase", phase=phase)
        world.mailbox.tick()
    assert world.container(number).phase == world.job(number).phase == "stage-out"


def test_a_job_is_as_far_as_its_containers(world: World) -> None:
    number, _ = world.submit(2)
    for index, phase, job in (
        (0, "stage-in", "stage-in"),
        (0, "run", "run"),
        (0, "stage-out", "run"),
        (1, "stage-in", "run"),
        (1, "stage-out", "stage-out"),
    ):
        world.letter(number, "phase", index, phase=phase)
        world.mailbox.tick()
        assert world.job(number).phase == job


def test_a_result_is_kept_and_the_poll_loop_woken_but_not_for_each_of_many(world: World) -> None:
    number, _ = world.submit(3)
    wakings = 0
    world.site.poll_wake.clear()
    for index in range(3):
        world.result(number, index, "container-failed", exit_code=index + 1)
        world.letter(number, "result", index)
        world.mailbox.tick()
        wakings += world.site.poll_wake.is_set()
        world.site.poll_wake.clear()
    assert wakings == 1
    assert [c.exit_code for c in world.containers(number)] == [1, 2, 3]
    assert world.job(number).phase == "settling"
    world.clock.forward(1)
    world.mailbox.tick()
    assert world.site.poll_wake.is_set()


def test_a_node_is_told_the_login_of_its_jobs_registry_and_of_no_other(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    auths = {
        "ghcr.io": {"username": "lab", "password": "s3cr3t"},
        "reg.example.org": {"username": "other", "password": "0ther"},
    }
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    world = make_world()
    images = world.config.images.model_copy(update={"docker_config_dir": tmp_path})
    world.config = world.config.model_copy(update={"images": images})
    world.restart()
    number, _ = world.submit()
    answer = world.ask(number, "login", image="reg.example.org/x/y", registry="reg.example.org")
    assert answer["login"] == {"username": "lab", "password": "s3cr3t"}
    assert answer["error"] is None
    script = world.folder(number).parent / "submit-0.sbatch"
    document = (world.folder(number).parent / "job.json").read_text()
    assert json.loads(document)["image"]["login"] is True
    assert "s3cr3t" not in script.read_text() + document
    (tmp_path / "config.json").write_text("{}")  # read anew
    assert world.ask(number, "login")["login"] is None
    (tmp_path / "config.json").write_text('{"auths": {"ghcr.io": {"identitytoken": "t0ken"}}}')
    refused = world.ask(number, "login")
    assert "is a token, with which compute nodes cannot" in refused["error"]
    assert "t0ken" not in json.dumps(refused)


def test_a_login_is_for_who_knows_the_jobs_token_while_it_runs(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    auths = {"ghcr.io": {"username": "lab", "password": "s3cr3t"}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    world = make_world()
    images = world.config.images.model_copy(update={"docker_config_dir": tmp_path})
    world.config = world.config.model_copy(update={"images": images})
    world.restart()
    number, slurm = world.submit()
    path = world.letter(number, "login", token="wrong")
    world.mailbox.tick()
    assert not path.exists()
    world.result(number, outcome="container-failed", exit_code=1)
    world.slurm.set(slurm, 0, "FAILED", node="n1")
    world.submit()  # keeps the mailbox open
    world.settle()
    answer = world.ask(number, "login")
    assert answer["error"] == "the job has ended"
    assert "login" not in answer


def test_a_result_without_a_file_is_no_result(world: World) -> None:
    number, _ = world.submit()
    world.letter(number, "result")
    world.mailbox.tick()
    assert world.container(number).result is None
    assert world.letters() == []


@pytest.mark.parametrize("token", ["", "wrong", "5ec2e7" * 9, "töken", "5ec2e7" * 10 + "0"])
@pytest.mark.parametrize("kind", ["stage-in", "stage-out", "phase", "result"])
def test_who_does_not_know_the_jobs_token_gets_and_changes_nothing(
    world: World, kind: str, token: str
) -> None:
    number, _ = world.submit()
    world.result(number)
    outputs = [announced("x", b"x")]
    path = world.letter(number, kind, token=token, inputs=[1], outputs=outputs, phase="run")
    world.mailbox.tick()
    assert not path.exists()
    assert world.letters() == []
    assert world.container(number).phase == "pending"
    assert world.outputs(number) == []


def test_the_token_of_one_job_is_none_for_another(world: World) -> None:
    mine, _ = world.submit(token="1" * 64)
    other, _ = world.submit(token="2" * 64)
    path = world.letter(other, "stage-in", inputs=[2], token=world.job(mine).token)
    world.mailbox.tick()
    assert not path.exists()


def test_a_container_or_job_that_is_not_there_gets_no_answer(world: World) -> None:
    number, _ = world.submit()
    world.letter(number, "stage-in", 1, inputs=[1])
    world.letter(number, "phase", job_id=number + 1, phase="run")
    world.mailbox.tick()
    assert world.letters() == []


def test_a_letter_that_is_none_is_dropped_and_blocks_nobody(world: World) -> None:
    number, _ = world.submit()
    good = {"version": 1, "kind": "phase", "job_id": number, "container": 0, "seq": 1}
    good |= {"token": world.job(number).token, "slurm_job_id": "77", "phase": "run"}
    poison = [
        b"", b"{", b"garbage", b"\xff\xfe\x00", b"null", b"[]", b'"x"', b"[" * 1_000_000,
        b'{"a":' * 100_000, b'{"version": 1}', b"x" * (9 << 20),
        json.dumps(good | {"token": "\ud800"}).encode(),
        json.dumps(good | {"job_id": 10**30}).encode(),
        json.dumps(good | {"job_id": str(number)}).encode(),
        json.dumps(good | {"container": -1}).encode(),
        json.dumps(good | {"seq": 10**400}).encode(),
        json.dumps(good | {"slurm_job_id": "9" * 300}).encode(),
        json.dumps(good | {"slurm_job_id": "../../x"}).encode(),
        json.dumps(good | {"kind": "delete"}).encode(),
        json.dumps(good | {"host": "n1\0"}).encode(),
        json.dumps(good | {"inputs": [1] * 10_001, "kind": "stage-in"}).encode(),
    ]  # fmt: skip
    for n, data in enumerate(poison):
        world.drop(f"0.{n}.json", data)
    (Path(world.site.mailbox) / "0.folder" / "inner").mkdir(parents=True)
    (Path(world.site.mailbox) / "0.link").symlink_to("/etc/passwd")
    path = world.letter(number, "stage-in", inputs=[1])
    world.mailbox.tick()
    assert path.exists()
    assert world.letters() == []
    assert world.container(number).phase == "pending"


def test_an_answer_that_cannot_be_written_waits_and_blocks_no_other(world: World) -> None:
    bad, _ = world.submit()
    good, _ = world.submit()
    obstacle = world.folder(bad) / "grants"
    obstacle.write_text("in the way")
    waiting = world.letter(bad, "stage-in", inputs=[1])
    path = world.letter(good, "stage-in", inputs=[2])
    world.mailbox.tick()
    assert path.exists()
    assert world.letters() == [f"{bad}.0.{waiting.name}"]
    assert "answering a node waits: cannot write" in (world.job(bad).reason or "")
    obstacle.unlink()
    world.mailbox.tick()  # it rests for some seconds
    assert not waiting.exists()
    world.clock.forward(5)
    world.mailbox.tick()
    assert waiting.exists()
    assert world.letters() == []


def test_who_has_ended_waits_for_no_answer(world: World) -> None:
    number, _ = world.submit()
    world.submit()
    (world.folder(number) / "grants").write_text("in the way")
    world.change(world.container(number), phase="canceled")
    world.letter(number, "stage-in", inputs=[1])
    world.mailbox.tick()
    assert world.letters() == []


def test_a_store_that_is_away_leaves_the_letters_that_need_it_and_serves_the_others(
    world: World,
) -> None:
    number, _ = world.submit(3)
    from tests.daemon.world import MIB

    big = [announced("big", b"x" * (5 * MIB + 1))]
    waiting = [world.letter(number, "stage-out", index, outputs=big) for index in (0, 1)]
    small = world.letter(number, "phase", 2, phase="run")
    world.store.away = True
    world.mailbox.tick()
    assert world.container(number, 2).phase == "run"
    assert len(world.letters()) == 2
    assert not any(path.exists() for path in [*waiting, small])
    world.store.away = False
    world.mailbox.tick()  # what failed rests for some seconds; the other was not tried
    world.clock.forward(5)
    world.mailbox.tick()
    assert world.letters() == []
    first, second = (json.loads(path.read_text())["error"] for path in waiting)
    assert sorted([first or "", second or ""])[0] == ""
    assert "both write" in (first or second)


def test_a_mistake_over_one_letter_is_that_jobs_reason_and_blocks_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, _ = world.submit()
    good, _ = world.submit()
    world.letter(bad, "stage-in", inputs=[1])
    path = world.letter(good, "stage-in", inputs=[2])
    grant = world.store.grant_get

    def mistaken(bucket: str, key: str) -> object:
        if not path.parent.exists() and world.letters()[0].startswith(f"{bad}."):
            monkeypatch.setattr(world.store, "grant_get", grant)
            raise RuntimeError("out of order")
        return grant(bucket, key)

    monkeypatch.setattr(world.store, "grant_get", mistaken)
    world.mailbox.tick()
    assert path.exists()
    assert "answering a node failed and is tried again" in (world.job(bad).reason or "")


def test_the_letters_of_a_hundred_containers_are_a_handful_of_transactions(world: World) -> None:
    number, _ = world.submit(100)
    for index in range(100):
        world.letter(number, "phase", index, phase="run", host="n1")
    with writes(world.database) as count:
        world.mailbox.tick()
    assert {c.phase for c in world.containers(number)} == {"run"}
    assert count.sessions <= 2


def test_a_mailbox_is_left_alone_while_there_are_no_jobs(world: World) -> None:
    world.drop("1.0.77.1.json", b"{}")
    assert world.mailbox.tick() == 1.0
    assert world.letters() == ["1.0.77.1.json"]


def test_ten_thousand_grants_asked_for_at_once_are_served_in_bounded_memory(world: World) -> None:
    number, _ = world.submit()
    files = [announced(f"{n:05}-{'x' * 200}/{'y' * 200}", b"abc") for n in range(10_000)]
    world.ask(number, "stage-out", outputs=files[:10])
    asked = [
        world.letter(number, "stage-out", outputs=files[start : start + 500])
        for start in range(0, len(files), 500)
    ]
    before = peak(reset=True)
    world.mailbox.tick()
    grown = peak() - before
    answers = [json.loads(path.read_text()) for path in asked]
    paths = [row["path"] for answer in answers for row in answer["outputs"]]
    assert paths == [each["path"] for each in files]
    assert sum(path.stat().st_size for path in asked) > 12 << 20
    assert grown < 64 << 20, f"{grown >> 20} MiB"
