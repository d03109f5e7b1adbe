"""cts submit, jobs, show, cancel and script: what is printed, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway import wire
from gateway.errors import AppCode, GatewayError, SiteError
from tests.api.gateway_fake import JOB, ME, FakeGateway
from tests.cli.run import PROGRAMS, run
from tests.client.answering import answering


@pytest.fixture
def job_file(tmp_path: Path) -> str:
    """A job that is right."""
    path = tmp_path / "job.json"
    path.write_text(json.dumps(JOB))
    return str(path)


def test_submit_prints_the_id_alone(fake: FakeGateway, job_file: str) -> None:
    done = run(fake, "cts", "submit", job_file)
    assert (done.code, done.out, done.err) == (0, "1\n", "")
    assert fake.jobs.calls == [("submit", JOB)]
    assert json.loads(run(fake, "cts", "submit", job_file, "--json").out) == {"job_id": "2"}


def test_submit_takes_standard_input(fake: FakeGateway) -> None:
    assert run(fake, "cts", "submit", "-", text=json.dumps(JOB)).out == "1\n"


def test_a_job_that_is_refused_has_each_mistake_on_standard_error(fake: FakeGateway) -> None:
    wrong = JOB | {"cpu": 1, "num_containers": "many", "memory": "lots"}
    done = run(fake, "cts", "submit", "-", text=json.dumps(wrong))
    done.refused(2, "(appcode 30010)", "cpu", "num_containers", "memory")
    assert len(done.err.splitlines()) == 3


def test_jobs_is_a_table_of_ones_own_jobs_the_last_updated_first(fake: FakeGateway) -> None:
    fake.jobs.add(name="first")
    fake.jobs.add("somebody")
    failed = fake.jobs.add()
    fake.jobs.rows[failed].to("error", error="container 3_0 exited with code 7")
    lines = run(fake, "cts", "jobs").out.splitlines()
    assert lines[0].split() == [
        "JOBID",
        "NAME",
        "USER",
        "SITE",
        "STATE",
        "PHASE",
        "UPDATED",
        "NOTE",
    ]
    assert [line.split()[0] for line in lines[1:]] == ["3", "1"]
    assert lines[1].endswith("container 3_0 exited with code 7")
    assert lines[2].split()[1:6] == ["first", ME, "dev", "created", "created"]


def test_jobs_as_json_is_a_list_of_the_protocols_previews(fake: FakeGateway) -> None:
    fake.jobs.add()
    (job,) = json.loads(run(fake, "cts", "jobs", "--json").out)
    assert (job["id"], job["state"], "input_files" in job["job_input"]) == ("1", "created", False)
    assert run(fake, "cts", "jobs", "--json", "--state", "error").out == "[]\n"


def test_the_filters_of_jobs_reach_the_gateway_and_a_wrong_one_is_refused(
    fake: FakeGateway,
) -> None:
    run(fake, "cts", "jobs", "--state", "complete", "--cluster", "dev", "--limit", "7")
    asked = fake.jobs.calls[-1][1]
    assert (asked["state"], asked["cluster"], asked["limit"]) == ("complete", "dev", 7)
    run(fake, "cts", "jobs", "--limit", "0").refused(2, "limit", "(appcode 30010)")
    run(fake, "cts", "jobs", "--state", "nonsense").refused(2, "state")


def test_show_tells_all_of_a_job(fake: FakeGateway) -> None:
    job = fake.jobs.add(name="mine")
    fake.jobs.rows[job].to("run")
    fake.jobs.rows[job].to("complete")
    fake.jobs.rows[job].codes = [0, 0]
    out = run(fake, "cts", "show", "1").out
    for line in ("Job       1", "Name      mine", "State     complete (complete)", "SlurmID   77"):
        assert line in out.splitlines()
    assert "results/x/a.txt  3      AAAAAAAAAAA=" in out
    history = out.partition("History\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[2] for line in history] == ["PHASE", "created", "run", "complete"]
    containers = out.partition("Containers\n")[2].splitlines()
    assert containers[1].split() == ["1_0", "complete", "0", "n1", "77_0", "0"]
    assert json.loads(run(fake, "cts", "show", "1", "--json").out)["id"] == "1"


def test_show_of_a_container_is_its_table_or_its_json(fake: FakeGateway) -> None:
    job = fake.jobs.add(phase="run")
    row = fake.jobs.rows[job]
    row.times[1] = {
        "stage-in": ["2026-01-31T12:00:00Z", "2026-01-31T12:00:04Z"],
        "run": ["2026-01-31T12:00:04Z", "2026-01-31T13:01:09.500Z"],
    }
    row.codes[1] = 7
    out = run(fake, "cts", "show", "1_1").out
    assert "Container 1_1\n" in out
    assert "Exit      7\n" in out
    times = out.partition("Times\n")[2].splitlines()
    assert [line.split()[0] for line in times] == ["PHASE", "stage-in", "run"]
    assert times[2].endswith("01:01:05")
    assert json.loads(run(fake, "cts", "show", "--json", "1_1").out)["exit_code"] == 7


def test_show_tells_how_far_a_transfer_is_how_fast_and_how_long_it_has_to_go(
    fake: FakeGateway,
) -> None:
    number = fake.jobs.add()
    fake.jobs.rows[number].to("stage-in")
    for index, rate in ((0, 300 << 20), (1, 0)):
        fake.jobs.rows[number].progress[index] = wire.Progress(
            bytes_done=(1 << 30) + 1, bytes_total=3 << 30, bytes_per_second=rate
        )
    said = "1.00G of 3.00G (33%), 300.00M/s, 00:00:06 left"
    lines = run(fake, "cts", "show", str(number)).out.splitlines()
    assert next(line for line in lines if line.startswith(f"{number}_0 ")).endswith(f"  {said}")
    assert f"Progress  {said}\n" in run(fake, "cts", "show", f"{number}_0").out
    assert "Progress  1.00G of 3.00G (33%), 0/s\n" in run(fake, "cts", "show", f"{number}_1").out
    told = json.loads(run(fake, "cts", "show", "--json", f"{number}_0").out)["progress"]
    assert told == {
        "bytes_done": (1 << 30) + 1,
        "bytes_total": 3 << 30,
        "bytes_per_second": 300 << 20,
    }


def test_show_of_a_phase_is_its_table_or_its_json(fake: FakeGateway) -> None:
    job = fake.jobs.add(phase="run")
    row = fake.jobs.rows[job]
    row.times[0] = {
        "stage-in": ["2026-01-31T12:00:00Z", "2026-01-31T12:00:04Z"],
        "run": ["2026-01-31T12:00:04Z", None],
    }
    first = json.loads(run(fake, "cts", "show", "--json", "1_0.stage-in").out)
    assert (first["id"], first["state"], first["elapsed"]) == ("1_0.stage-in", "ended", 4.0)
    assert first["exit_code"] is None
    second = json.loads(run(fake, "cts", "show", "--json", "1_0.run").out)
    assert (second["state"], second["end"]) == ("under way", None)
    assert second["elapsed"] > 4
    third = json.loads(run(fake, "cts", "show", "--json", "1_0.stage-out").out)
    assert (third["state"], third["begin"], third["elapsed"]) == ("not begun", None, None)
    row.to("error")
    out = run(fake, "cts", "show", "1_0.stage-out").out
    assert "Phase     1_0.stage-out\nState     not done; the container is in error\n" in out
    assert "Elapsed   00:00:04\n" in run(fake, "cts", "show", "1_0.stage-in").out


def test_cancel_cancels_all_that_it_can_and_tells_the_rest(fake: FakeGateway) -> None:
    for phase in ("run", "complete", "pending"):
        fake.jobs.add(phase=phase)
    done = run(fake, "cts", "cancel", "1", "2", "99", "3", "--json")
    assert [fake.jobs.rows[n].phase for n in (1, 2, 3)] == ["canceling", "complete", "canceling"]
    assert json.loads(done.out) == {"canceled": ["1", "3"]}
    assert done.code == 3
    assert "30300" in done.err
    assert "40040" in done.err
    assert run(fake, "cts", "cancel", "1").code == 0


def test_script_prints_what_was_submitted_for_a_job_or_a_container_of_it(fake: FakeGateway) -> None:
    fake.jobs.add()
    for name in ("1", "1_0", "1_0.run"):
        assert run(fake, "cts", "script", name).out == fake.jobs.script_text
    assert json.loads(run(fake, "cts", "script", "1", "--json").out) == [fake.jobs.script_text]


def test_images_sites_and_whoami_are_tables_and_json(fake: FakeGateway) -> None:
    assert run(fake, "cts", "images").out.splitlines()[1].split() == [
        "ghcr.io/kbase/checksum", "1.0", "sha256:" + "a" * 64, "/sum", "ada",
    ]  # fmt: skip
    assert json.loads(run(fake, "cts", "images", "--json").out)[0]["tag"] == "1.0"
    assert run(fake, "cts", "sites").out.splitlines()[1].split() == [
        "dev", "up", "4", "3", "8", "15.5", "0", "2880",
    ]  # fmt: skip
    assert json.loads(run(fake, "cts", "sites", "--json").out)[0]["max_runtime_min"] == 2880
    assert run(fake, "cts", "whoami").out == f"{ME} (user)\n"
    assert json.loads(run(fake, "cts", "whoami", "--json").out)["roles"] == ["user"]


def test_a_site_that_is_down_says_why(fake: FakeGateway) -> None:
    site = fake.info.sites_[0]
    fake.info.sites_ = [
        site.model_copy(update={"available": False, "unavailable_reason": "no ssh"})
    ]
    assert run(fake, "cts", "sites").out.splitlines()[1].endswith("no ssh")


def test_one_site_is_shown_with_all_that_it_offers(fake: FakeGateway) -> None:
    offers = {
        "partitions": [
            wire.SiteQueue(name="regular"),
            wire.SiteQueue(name="debug", max_runtime_min=20),
        ],
        "accounts": ["dev", "lab"],
        "licenses": {"cfs": 2},
        "gpus_per_node": 4,
    }
    fake.info.sites_ = [fake.info.sites_[0].model_copy(update=offers)]
    shown = run(fake, "cts", "sites", "dev").out
    for line in (
        "GPUs/node    4",
        "Partitions   regular, debug (20 minutes)",
        "Accounts     dev, lab",
        "Licenses     cfs:2",
    ):
        assert line in shown.splitlines()
    assert "QOS" not in shown
    found = json.loads(run(fake, "cts", "sites", "dev", "--json").out)
    assert [site["cluster"] for site in found] == ["dev"]
    run(fake, "cts", "sites", "mars").refused(3, "there is no site mars; the sites are dev")


def test_what_a_sites_slurm_says_is_shown_with_its_age(fake: FakeGateway) -> None:
    shown = run(fake, "cts", "sites", "dev").out
    assert "\nSlurm, 4 s ago\n" in shown
    head, row = [line.split() for line in shown.splitlines()[-2:]]
    assert head == ["PARTITION", "STATE", "DEFAULT", "MAX", "MINUTES", "NODES", "IN", "USE", "IDLE", "OTHER"]  # fmt: skip
    assert row == ["regular", "UP", "yes", "4", "1", "3", "0"]
    now = fake.info.sites_[0].slurm
    assert now is not None
    for update, said in (
        ({"error": "sinfo: away"}, "Slurm says nothing newer: sinfo: away"),
        ({"error": "sinfo: away", "age_seconds": None, "partitions": []}, "Slurm says nothing newer"),
    ):  # fmt: skip
        fake.info.sites_ = [
            fake.info.sites_[0].model_copy(update={"slurm": now.model_copy(update=update)})
        ]
        assert said in run(fake, "cts", "sites", "dev").out
    assert "ago" not in run(fake, "cts", "sites", "dev").out
    assert run(fake, "cts", "sites").out.splitlines()[1].split()[2:4] == ["4", "8"]


def test_admins_switch_a_site_off_and_on(fake_admin: FakeGateway) -> None:
    done = run(fake_admin, "cts", "admin", "site", "off", "dev", "--reason", "until noon")
    assert done.out == "dev takes no more jobs: until noon\n"
    row = run(fake_admin, "cts", "sites").out.splitlines()[1]
    assert row.split()[:2] == ["dev", "off"]
    assert row.endswith("until noon")
    assert run(fake_admin, "cts", "admin", "site", "on", "dev").out == "dev takes jobs\n"
    done = run(fake_admin, "cts", "admin", "site", "off", "dev", "--json")
    assert json.loads(done.out) == {"cluster": "dev", "active": False, "reason": None}
    run(fake_admin, "cts", "admin", "site", "on", "mars").refused(3, "40000", "no site 'mars'")


def test_users_do_not_switch_sites(fake: FakeGateway) -> None:
    run(fake, "cts", "admin", "site", "off", "dev").refused(3, "20000")
    assert fake.info.sites_[0].active


def test_admins_approve_images_and_list_everyones_jobs(fake_admin: FakeGateway) -> None:
    done = run(fake_admin, "cts", "admin", "image", "approve", "ghcr.io/kbase/checksum:1.0")
    assert done.out == f"ghcr.io/kbase/checksum:1.0 is sha256:{'a' * 64}\n"
    assert fake_admin.images.asked == ["ghcr.io/kbase/checksum:1.0"]
    done = run(fake_admin, "cts", "admin", "image", "approve", "--json", "ghcr.io/kbase/checksum")
    assert json.loads(done.out)["registered_by"] == ME
    fake_admin.jobs.add("alice")
    fake_admin.jobs.add("bob")
    assert "bob" in run(fake_admin, "cts", "admin", "jobs").out
    (job,) = json.loads(run(fake_admin, "cts", "admin", "jobs", "-u", "alice", "--json").out)
    assert job["user"] == "alice"


def test_who_is_no_admin_is_told_so(fake: FakeGateway) -> None:
    for words in (("image", "approve", "a:1"), ("jobs",), ("jobs", "-u", "bob")):
        run(fake, "cts", "admin", *words).refused(3, "(appcode 20000)")


COMMANDS = [
    ("cts", "jobs"), ("cts", "show", "1"), ("cts", "show", "1_0"), ("cts", "logs", "1"), ("cts", "logs", "-f", "1"),
    ("cts", "cancel", "1"), ("cts", "wait", "1"), ("cts", "script", "1"), ("ctsqueue",), ("ctsqueue", "-j", "1"),
    ("ctscancel", "1"), ("cts", "submit", "-"),
]  # fmt: skip


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_a_gateway_that_fails_is_exit_code_5_with_the_request_to_tell_its_admins(
    fake: FakeGateway, argv: tuple[str, ...]
) -> None:
    fake.jobs.add()
    fake.jobs.raises = RuntimeError("x")
    run(fake, *argv, text=json.dumps(JOB)).refused(5, "(request ", "made a mistake")


def test_a_site_that_does_not_answer_is_exit_code_5(fake: FakeGateway) -> None:
    fake.jobs.raises = SiteError("x")
    run(fake, "cts", "show", "1").refused(5, "try again later")


@pytest.mark.parametrize(
    "argv",
    [*COMMANDS, ("cts", "images"), ("cts", "sites"), ("cts", "whoami"), ("ctsacct",)],
    ids=" ".join,
)
def test_a_gateway_that_is_not_there_is_exit_code_4_naming_the_socket(
    fake: FakeGateway, argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.client.patience.SECONDS", 0)
    done = run(fake, *argv, "--socket", "/no/such/cts.sock", text=json.dumps(JOB))
    done.refused(4, "/no/such/cts.sock", "CTS_SOCKET")
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    "code",
    [
        AppCode.UNAUTHORIZED,
        AppCode.INVALID_USER,
        AppCode.AUTHENTICATION_FAILED,
        AppCode.NO_SUCH_JOB,
    ],
)
def test_what_is_not_there_or_not_allowed_is_exit_code_3(fake: FakeGateway, code: AppCode) -> None:
    fake.jobs.raises = GatewayError(code, "no")
    run(fake, "cts", "show", "1").refused(3, f"(appcode {code.code})")


@pytest.mark.parametrize(
    "code", [AppCode.SITE_INACTIVE, AppCode.CHECKSUM_MISMATCH, AppCode.UNSUPPORTED]
)
def test_what_cannot_be_done_as_asked_is_exit_code_2(fake: FakeGateway, code: AppCode) -> None:
    fake.jobs.raises = GatewayError(code, "no")
    run(fake, "cts", "submit", "-", text="{}").refused(2, f"(appcode {code.code})")


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello", "is"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "one release"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "one release"),
    ],
)
def test_what_is_no_gateway_is_exit_code_5(fake: FakeGateway, answer: bytes, word: str) -> None:
    with answering(answer) as path:
        run(fake, "cts", "show", "1", "--socket", path).refused(5, word, path)


def test_what_speaks_no_http_is_exit_code_4(fake: FakeGateway) -> None:
    with answering(b"220 mail.example.org ESMTP\r\n") as path:
        run(fake, "cts", "show", "1", "--socket", path).refused(4, path)


@pytest.mark.parametrize(
    "argv",
    [
        ("cts", "nonsense"),
        ("cts", "show"),
        ("cts", "show", "--nonsense", "1"),
        ("ctsqueue", "-x"),
        ("ctsacct", "x"),
        ("cts", "wait", "1", "--timeout", "soon"),
    ],
    ids=" ".join,
)
def test_a_command_that_there_is_not_is_exit_code_2_on_standard_error(
    fake: FakeGateway, argv: tuple[str, ...]
) -> None:
    done = run(fake, *argv)
    assert (done.code, done.out) == (2, "")
    assert "Usage: " in done.err


def test_version_is_the_clients(fake: FakeGateway) -> None:
    from gateway import __version__

    assert run(fake, "cts", "--version").out == f"cts {__version__}\n"


SUBCOMMANDS = [
    "submit", "jobs", "show", "logs", "cancel", "wait", "images", "sites", "whoami", "script",
    "admin image approve", "admin jobs", "admin site on", "admin site off",
]  # fmt: skip
HELPS = [
    ("cts",),
    *(("cts", *words.split()) for words in SUBCOMMANDS),
    *((program,) for program in PROGRAMS if program != "cts"),
]


@pytest.mark.parametrize("argv", HELPS, ids=" ".join)
def test_help_has_examples_a_line_each(fake: FakeGateway, argv: tuple[str, ...]) -> None:
    done = run(fake, *argv, "--help")
    assert done.code == 0
    lines = done.out.partition("Examples:\n")[2].splitlines()
    assert [line for line in lines if line.strip().startswith(" ".join(argv[:2]))], done.out
    assert not [line for line in lines if line and not line.startswith("  ")]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_help_of_a_program_tells_its_exit_codes(fake: FakeGateway, program: str) -> None:
    text = " ".join(run(fake, program, "--help").out.split())
    assert "4 the gateway does not answer; 5 the gateway failed; 130 interrupted." in text


@pytest.mark.parametrize(("argv", "words"), [
    (("cts", "submit"), ("seconds", "PT1H30M", "bytes", "2GB")), (("cts", "wait"), ("seconds",)), (("cts", "show"), ("bytes",)),
    (("cts", "sites"), ("10^9",)), (("ctsacct",), ("powers of 1024", "bytes", "seconds")), (("ctsbatch",), ("minutes", "binary")),
    (("ctsqueue",), ("HH:MM:SS",)),
], ids=str)  # fmt: skip
def test_help_tells_the_units(
    fake: FakeGateway, argv: tuple[str, ...], words: tuple[str, ...]
) -> None:
    text = run(fake, *argv, "--help").out
    for word in words:
        assert word in text


def test_a_dry_run_shows_each_containers_command_as_a_shell_would_take_it_and_the_script(
    fake: FakeGateway, job_file: str
) -> None:
    done = run(fake, "cts", "submit", "--dry-run", job_file)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "Result    the job is right; nothing was submitted"
    at = lines.index("Containers")
    assert lines[at + 2].split()[:5] == ["0", "1", "data/a.txt", "/sum", "'a"]
    assert lines[at + 2].endswith("xxx…")
    assert lines[at + 3] == "and 1 more"
    assert done.out.endswith(f"\nScript\n{fake.jobs.script_text}")
    assert fake.jobs.rows == {}


def test_a_dry_run_as_json_is_the_whole_answer(fake: FakeGateway, job_file: str) -> None:
    done = run(fake, "cts", "submit", "--dry-run", "--json", job_file)
    assert json.loads(done.out)["containers"][0]["argv"][1:] == ["a b", "x" * 300]


def test_a_dry_run_is_not_waited_for(fake: FakeGateway, job_file: str) -> None:
    done = run(fake, "cts", "submit", "--dry-run", "--wait", job_file)
    assert (done.code, done.out) == (2, "")
    assert "--wait does not go with --dry-run" in done.err
    assert fake.jobs.calls == []


def test_admins_try_templates_at_each_site_or_at_some(fake_admin: FakeGateway) -> None:
    done = run(fake_admin, "cts", "admin", "template", "check")
    assert done.out == "ok    dev: render              /opt/generic.sbatch.j2: renders\n"
    done = run(
        fake_admin, "cts", "admin", "template", "check", "/etc/cts/bad.sbatch.j2", "--site", "dev"
    )
    assert (done.code, done.out.split()[0]) == (1, "FAIL")
    assert "line 3: no" in done.out
    done = run(fake_admin, "cts", "admin", "template", "check", "perlmutter", "--json")
    assert json.loads(done.out)[0]["template"] == "perlmutter"
    run(fake_admin, "cts", "admin", "template", "check", "--site", "mars").refused(3, "40000")


def test_users_try_no_templates(fake: FakeGateway) -> None:
    run(fake, "cts", "admin", "template", "check", "--site", "dev").refused(3, "20000")
