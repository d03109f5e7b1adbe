"""What is refused, each with its own error, and what ctsd says of its dependencies."""

from __future__ import annotations

import json

import pytest

from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster
READS = ["sample-data/reads/sample-1.txt"]


@pytest.mark.parametrize(
    ("fields", "appcode"),
    [
        ({"input_files": ["no-such-bucket/x"]}, "40020"),
        ({"input_files": ["sample-data/no-such-key"]}, "40010"),
        ({"input_files": ["private-data/secret.txt"]}, "20010"),
        ({"output_dir": "no-such-bucket/x"}, "40020"),
        ({"output_dir": "private-data/x"}, "20020"),
        ({"image": "127.0.0.1:1/none/none:1"}, "40030"),
        ({"cluster": "mars"}, "30001"),
        ({"cpu": 1}, "30010"),
    ],
)
def test_each_mistake_has_its_own_error(
    site: DevCluster, fields: dict[str, object], appcode: str
) -> None:
    job = {
        "cluster": "dev",
        "image": site.image("checksum"),
        "input_files": READS[:1],
        "output_dir": "results/x",
    } | fields
    done = site.run("cts", "submit", "-", text=json.dumps(job), check=False)
    assert done.returncode in (2, 3)
    assert f"(appcode {appcode})" in done.stderr
    assert done.stdout == ""


def test_an_image_without_entrypoint_is_refused(site: DevCluster) -> None:
    done = site.run(
        "cts",
        "admin",
        "image",
        "approve",
        f"{site.registry}/test/noentry:1.0",
        user="ada",
        check=False,
    )
    assert done.returncode == 2
    assert "30060" in done.stderr


def test_only_admins_approve_images(site: DevCluster) -> None:
    done = site.run(
        "cts", "admin", "image", "approve", f"{site.registry}/test/noentry:1.0", check=False
    )
    assert done.returncode == 3
    assert "20000" in done.stderr


def test_ctsd_check_has_a_line_for_each_dependency_beside_the_running_daemon(
    site: DevCluster,
) -> None:
    site.finish(
        site.submit(image=site.image("checksum"))
    )  # the daemon holds its work directory now
    done = site.run("ctsd", "check", user="ctsd")
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["ok"] * len(lines)
    names = ("database", "s3", "crane", "slurm", "work directory", "template")
    assert all(any(name in line for line in lines) for name in names)
    ready = json.loads(
        site.run("curl", "-s", "--unix-socket", "/run/cts/cts.sock", "http://cts/ready").stdout
    )
    assert ready["ready"] is True
    written = [line for line in lines if ": objects " in line]  # what /ready does not do
    assert len(ready["checks"]) == len(lines) - len(written) == len(lines) - 1


def test_ctsd_check_tells_what_fails_and_tries_the_rest(site: DevCluster) -> None:
    change = (
        "sed -e '0,/^credentials_file/s,^credentials_file.*,credentials_file = \"/home/ctsd/none\",' "
        "-e 's,^endpoint_url,region = \"us-east-1\"\\nendpoint_url,' "
        "/etc/cts/gateway.toml > /home/ctsd/bad.toml; ctsd check --config /home/ctsd/bad.toml"
    )
    done = site.run("sh", "-c", change, user="ctsd", check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if not line.startswith("ok")]
    assert len(failed) == 1
    assert failed[0].startswith("FAIL  s3  ")
    assert "/home/ctsd/none" in failed[0]
