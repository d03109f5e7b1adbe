"""What a container gets: its image's own settings, its arguments at their limits, its HOME; and large outputs."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from typing import Any

import pytest

from tests import settings
from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster


def _image(site: DevCluster, *options: str) -> str:
    """An approved image like test/argv, with other settings."""
    reference = f"{site.registry}/test/odd-{uuid.uuid4().hex[:8]}:1.0"
    source = f"{site.registry}/test/argv:1.0"
    site.run("crane", "mutate", "--insecure", source, *options, "--tag", reference, user="root")
    site.run("cts", "admin", "image", "approve", reference, user="ada")
    return reference


def _seen(site: DevCluster, **fields: Any) -> dict[str, Any]:
    """What the container of a job saw, of argv and environment."""
    job = site.finish(site.submit(**fields))
    assert job["state"] == "complete", job["error"]
    seen: dict[str, Any] = json.loads(site.run("cts", "logs", job["id"]).stdout)
    return seen


def test_variables_of_the_image_arrive_as_they_are_and_the_jobs_own_win(site: DevCluster) -> None:
    odd = "a$(touch /output_files/x) `id` \\ \" ' $HOME"
    image = _image(site, "--env", f"ODD={odd}", "--env", "MODE=image", "--env", "PATH=/bin")
    seen = _seen(site, image=image, params={"environment": {"MODE": "job"}})
    assert seen["environment"]["ODD"] == odd
    assert seen["environment"]["MODE"] == "job"
    assert seen["environment"]["PATH"] == "/bin"


def test_home_is_the_private_tmp_and_a_working_directory_that_the_image_lacks_is_there(
    site: DevCluster,
) -> None:
    seen = _seen(site, image=_image(site, "--workdir", "/not/in/the/image"))
    assert seen["environment"]["HOME"] == "/tmp"
    assert seen["environment"]["PWD"] == "/not/in/the/image"


def test_arguments_just_below_the_limit_reach_the_container(site: DevCluster) -> None:
    # fail CODE NAME copies its inputs when there is no file of that name, whatever follows.
    args = ["7", "no-such-file", *[f"{n:04}" + "x" * 1020 for n in range(970)]]
    assert len(json.dumps(args)) > 990_000
    job = site.finish(site.submit(image=site.image("fail"), params={"args": args}))
    assert job["state"] == "complete", job["error"]


def test_a_large_object_comes_and_goes_in_parts_and_keeps_its_checksum(site: DevCluster) -> None:
    folder = f"results/large-{uuid.uuid4().hex[:8]}"
    script = (
        "set -e; head -c 150000000 /dev/urandom > large.bin; "
        'aws s3 cp --only-show-errors large.bin "s3://$1/in/large.bin"; md5sum < large.bin; rm large.bin'
    )
    original = site.run("sh", "-c", script, "sh", folder).stdout
    job = site.finish(
        site.submit(
            image=site.image("checksum"),
            input_files=[f"{folder}/in/large.bin"],
            output_dir=f"{folder}/out",
        )
    )
    assert job["state"] == "complete", job["error"]
    head = site.run(
        *("aws", "s3api", "head-object", "--bucket", "results"),
        *("--key", f"{folder.partition('/')[2]}/out/large.bin"),
    ).stdout
    assert json.loads(head)["ETag"].strip('"').endswith("-3")
    fetch = 'aws s3 cp --only-show-errors "s3://$1/out/large.bin" - | md5sum'
    assert site.run("sh", "-c", fetch, "sh", folder).stdout == original
    (given,) = job["job_input"]["input_files"]
    (written,) = [o for o in job["outputs"] if o["file"].endswith("large.bin")]
    assert written["crc64nvme"] == given["crc64nvme"]


def test_apptainer_knows_every_option_that_the_agent_gives_it(site: DevCluster) -> None:
    program = settings.load().apptainer
    help_ = (
        subprocess.run(
            [program, "exec", "--help"], capture_output=True, text=True, check=True
        ).stdout
        if program
        else site.run("apptainer", "exec", "--help").stdout
    )
    source = (settings.CHECKOUT / "gateway/agent/container.py").read_text()
    options = set(re.findall(r'"(--[a-z-]+)"', source)) - {"--silent"}
    assert len(options) >= 10
    assert {option for option in options if not re.search(rf"{option}\b", help_)} == set()


def test_the_work_directory_is_cleaned_after_success_and_the_logs_stay(site: DevCluster) -> None:
    job_id = site.submit(image=site.image("sleep"), params={"args": ["0"]})
    assert site.finish(job_id)["state"] == "complete"
    folder = f"/scratch/cts/jobs/{job_id}"
    site.until(
        lambda: site.run("test", "-e", folder, user="root", check=False).returncode == 1,
    )
    assert site.run("cts", "logs", job_id).stdout == "sleeping 0 s\nawake\n"


def test_a_log_is_followed_while_the_container_runs(site: DevCluster) -> None:
    job_id = site.submit(image=site.image("sleep"), params={"args": ["4"]})
    followed = site.run("cts", "logs", "-f", job_id).stdout
    assert followed == "sleeping 4 s\nawake\n"
    assert site.finish(job_id)["state"] == "complete"
