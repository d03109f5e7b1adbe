"""What is refused of what a container is given, by the real gateway; and a job that is tried out."""

from __future__ import annotations

import json
import uuid

import pytest

from gateway.jobs.document import place_text
from tests.cluster.posting import post
from tests.conftest import DevCluster
from tests.jobs.rules import BASE, MANIFEST, NUMBER, RULES, VALIDATION, A, Rule, document

pytestmark = pytest.mark.cluster


def test_a_job_that_is_tried_out_is_shown_as_it_would_run_and_leaves_nothing(
    site: DevCluster,
) -> None:
    job = BASE | {
        "image": site.image("given"),
        "output_dir": f"results/tried-{uuid.uuid4().hex}",
        "num_containers": 2,
        "params": {"args": [MANIFEST], "environment": {"N": NUMBER}},
    }
    done = site.run("cts", "submit", "--dry-run", "--json", "-", text=json.dumps(job))
    found = json.loads(done.stdout)
    first, second = found["containers"]
    assert [(file["file"], file["path"]) for file in first["input_files"]] == [
        (A, "/input_files/sample-2.txt")
    ]
    assert second["argv"] == ["/bin/given", "/input_files/manifest-2"]
    assert second["environment"] == {"N": "1"}
    assert second["generated_files"] == [
        {"path": "/input_files/manifest-2", "text": "/input_files/sample-3.txt\n"}
    ]
    (script,) = found["scripts"]
    assert "#SBATCH --array=0-1\n" in script
    argv = (
        "--site",
        "dev",
        "--image",
        job["image"],
        "--input",
        A,
        "--output",
        job["output_dir"],
        "--test-only",
    )
    assert "nothing was submitted" in site.run("ctsbatch", *argv).stdout
    listed = json.loads(site.run("cts", "jobs", "--limit", "1000", "--json").stdout)
    assert f"{job['output_dir']}/" not in {row["job_input"]["output_dir"] for row in listed}
    assert site.objects(job["output_dir"]) == {}


def test_each_rule_on_what_a_container_is_given_refuses_what_breaks_it(site: DevCluster) -> None:
    image = {"image": site.image("given")}
    answers = post(site, [document(rule) | image for rule in RULES], "?dry_run=true")
    for rule, answer in zip(RULES, answers, strict=True):
        error = answer["error"]
        assert error["appcode"] == rule.appcode, (rule, error)
        assert rule.said in error["message"], (rule, error)
        assert (
            error["message"].startswith(f"{place_text(rule.loc)}: ") or rule.appcode != VALIDATION
        )
        if rule.appcode == VALIDATION:
            (detail,) = error["request_validation_detail"]
            assert tuple(detail["loc"]) == rule.loc, (rule, error)


@pytest.mark.parametrize(
    ("dirs", "appcode", "said"),
    [
        (["sample-data/none/"], 40010, "input_dirs[0]: there is no object below 'sample-data/none/'"),
        (["sample-data/read"], 40010, "check the prefix"),
        (["no-such-bucket-at-all"], 40020, "There is no bucket 'no-such-bucket-at-all'"),
        (["private-data"], 20010, "may not read 'private-data/'"),
        (["sample-data/reads", "sample-data"], 30001, "there twice, the other time at input_dirs[0]"),
    ],
)  # fmt: skip
def test_a_prefix_that_cannot_be_listed_or_holds_nothing_is_refused(
    site: DevCluster, dirs: list[str], appcode: int, said: str
) -> None:
    asked = document(Rule({"input_dirs": dirs}, appcode, (), said, ("input_files",)))
    (answer,) = post(site, [asked | {"image": site.image("given")}], "?dry_run=true")
    assert answer["error"]["appcode"] == appcode, answer
    details = answer["error"].get("request_validation_detail", [])
    assert said in " ".join([answer["error"]["message"], *(row["msg"] for row in details)])
