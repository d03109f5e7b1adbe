"""Templates of batch scripts, tried at the real site by an admin."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("name", ["generic", "perlmutter"])
def test_the_templates_of_the_release_are_right_at_a_real_site(site: DevCluster, name: str) -> None:
    text = site.run("cts", "admin", "template", "check", name, "--site", "dev", user="ada").stdout
    assert [line.split()[0] for line in text.splitlines()] == ["ok"] * 3
    assert "to start at" in text.splitlines()[-1]


def test_a_sites_own_is_tried_by_its_path_and_what_is_wrong_is_told_with_its_line(
    site: DevCluster,
) -> None:
    path = f"/etc/cts/own-{uuid.uuid4().hex}.sbatch.j2"
    check = ("cts", "admin", "template", "check", "--site", "dev", path)
    shown = site.run("cts", "admin", "template", "check", "--json", "--site", "dev", user="ada")
    whole = site.run("cat", json.loads(shown.stdout)[0]["path"], user="root").stdout
    try:
        for old, new, step, said in (
            ("", "", "ok", "to start at"),
            ("v.comment", "v.coment", "render", "line 3"),
            ("exec", "if true; then\nexec", "bash", "syntax error"),
            ("--partition=", "--partition=no", "sbatch", "nvalid partition"),
            ("--requeue", "--requeuee", "sbatch", "--requeuee"),
        ):
            site.run("tee", path, user="root", text=whole.replace(old, new, 1) if old else whole)
            done = site.run(*check, user="ada", check=False)
            last = done.stdout.splitlines()[-1]
            assert said in last, done
            assert done.returncode == (0 if step == "ok" else 1)
            assert step == "ok" or last.startswith("FAIL")
            assert step in last
        site.run("chmod", "666", path, user="root")
        done = site.run(*check, user="ada", check=False)
        assert done.returncode == 2
        assert "can be changed by others" in done.stderr
    finally:
        site.run("rm", path, user="root")
    done = site.run(
        "cts", "admin", "template", "check", "/etc/cts/s3-credentials", user="ada", check=False
    )
    assert "must be named" in done.stderr
    done = site.run("cts", "admin", "template", "check", user="alice", check=False)
    assert (done.returncode, "20000" in done.stderr) == (3, True)
    assert (
        site.run("sh", "-c", "ls -A /scratch/cts | grep template", user="root", check=False).stdout
        == ""
    )
