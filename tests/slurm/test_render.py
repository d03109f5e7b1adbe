"""The batch script holds directives and one exec line, whatever the values; a broken template is told by file and line."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from operator import add
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.slurm.render import ScriptValues, render, template_path
from tests.conftest import DevCluster

DIRECTIVE = re.compile(r"#SBATCH --[a-z-]+(=[!-~]+)?", re.ASCII)
EXEC = re.compile(r"exec /\S* -I /\S* batch /\S* [0-9]+", re.ASCII)
GOOD = ScriptValues(
    job_name="cts-7-0-0123456789abcdef",
    comment="cts:dev:7:0:0123456789abcdef",
    job_dir="/scratch/cts/jobs/7",
    tasks=3,
    per_task=1,
    cpus=2,
    memory_mb=306,
    minutes=12,
    signal_seconds=60,
    partition="regular",
    account="dev",
    qos=None,
    python="/usr/bin/python3",
    agent="/scratch/cts/agent/0123456789abcdef",
    job_file="/scratch/cts/jobs/7/job.json",
    number=0,
)

EVIL = [
    *"\n\r\t\v\f \x00\x1c\x85\xa0\u2028`$;\\#'\"%=&|{}()<>*?~é٣",
    "\n#SBATCH --uid=0",
    "$(id)",
    "{{ v }}",
]
LETTERS = "ABYZabyz0189"
evil = st.sampled_from(EVIL)
words = st.builds(add, st.sampled_from(LETTERS), st.text(LETTERS + "_.:+-", max_size=12))
paths = st.text(LETTERS + "_.+/-", max_size=30).map("/{}".format)
counts = st.integers(1, 10**12)
any_word = words | st.text(max_size=10) | st.builds("{}{}{}".format, words, evil, words | evil)
any_path = paths | st.text(max_size=10) | st.builds("{}{}{}".format, paths, evil, words | evil)
any_number = st.integers() | st.booleans() | st.floats()
VALUES = st.builds(
    ScriptValues,
    job_name=words,
    comment=words,
    job_dir=paths,
    tasks=counts,
    per_task=counts,
    cpus=counts,
    memory_mb=counts,
    minutes=counts,
    signal_seconds=counts,
    partition=st.none() | words,
    account=st.none() | words,
    qos=st.none() | words,
    python=paths,
    agent=paths,
    job_file=paths,
    number=st.integers(0, 10**12),
    nodes=counts,
    gpus=st.integers(0, 64),
    constraint=st.none() | st.sampled_from(["cpu", "gpu&hbm80g", "[rack1*2|rack2]", "(a|b)&c"]),
    reservation=st.none() | words,
    licenses=st.none() | st.sampled_from(["cfs", "cfs,scratch:2", "matlab@server.x:10"]),
    at_once=st.integers(0, 1000),
)
ANY = {
    **dict.fromkeys(
        ("job_name", "comment", "partition", "account", "qos", "reservation"), any_word
    ),
    **dict.fromkeys(("job_dir", "python", "agent", "job_file"), any_path),
    **dict.fromkeys(
        ("tasks", "per_task", "cpus", "memory_mb", "minutes", "signal_seconds"), any_number
    ),
    **dict.fromkeys(("number", "nodes", "gpus", "at_once"), any_number),
}


def is_a_plain_script(text: str) -> bool:
    lines = re.split(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", text)
    return (
        lines[0] == "#!/bin/sh"
        and all(DIRECTIVE.fullmatch(line) for line in lines[1:-2])
        and EXEC.fullmatch(lines[-2]) is not None
        and lines[-1] == ""
    )


@settings(max_examples=50)
@given(VALUES)
def test_values_that_pass_render_to_directives_and_one_exec_line(values: ScriptValues) -> None:
    assert is_a_plain_script(render("generic", values))


@pytest.mark.parametrize("field", list(ANY))
def test_no_value_can_start_another_line_or_word(field: str) -> None:
    @settings(max_examples=30)
    @given(ANY[field])
    def check(value: Any) -> None:
        values = dataclasses.replace(GOOD, **{field: value})
        try:
            script = render("generic", values)
        except ValueError:
            return
        assert is_a_plain_script(script)
        assert len(script.split("\n")) == len(render("generic", GOOD).split("\n")) + (
            (field in ("qos", "reservation") and value is not None)
            or (field in ("nodes", "per_task") and value > 1)
            or (field == "gpus" and value > 0)
        )

    check()


BAD_NUMBERS = [True, -1, 1.5]
BAD_TEXTS = ["a\n#SBATCH --uid=0", "/a\n", "/a b", "$(id)", "", "-x", "é"]
BAD = [
    (name, value)
    for name, kind in ANY.items()
    for value in (BAD_NUMBERS if kind is any_number else BAD_TEXTS)
]


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_value_without_its_pattern_renders_nothing(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"batch script|whole numbers"):
        render("generic", dataclasses.replace(GOOD, **{field: value}))


@pytest.mark.parametrize("field", [name for name, kind in ANY.items() if kind is not any_number])
def test_no_letter_that_means_something_to_a_shell_passes(field: str) -> None:
    value: Any
    for letter in EVIL:
        for value in (f"/a{letter}", f"/{letter}a", f"a{letter}", f"a{letter}b", letter):
            with pytest.raises(ValueError, match="may not stand in a batch script"):
                render("generic", dataclasses.replace(GOOD, **{field: value}))


@pytest.mark.parametrize("field", ["constraint", "licenses"])
@pytest.mark.parametrize("text", ["", "a b", "a\n#SBATCH --uid=0", "$(id)", "`id`", "a;b", "a'b", 'a"b', "a\\b", "-a", "#", "a>b", "é", "a" * 256])  # fmt: skip
def test_no_expression_of_features_or_licenses_holds_more_than_it_needs(
    field: str, text: str
) -> None:
    values: dict[str, Any] = {field: text}
    with pytest.raises(ValueError, match="may not stand in a batch script"):
        render("generic", dataclasses.replace(GOOD, **values))


def test_what_a_job_asks_of_slurm_is_a_directive_each() -> None:
    asked = dataclasses.replace(
        GOOD, nodes=2, gpus=4, constraint="gpu&(a|b)", reservation="course", licenses="cfs:2"
    )
    lines = render("generic", asked).splitlines()
    for line in (
        *("--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--gpus-per-task=4"),
        *("--constraint=gpu&(a|b)", "--reservation=course", "--licenses=cfs:2"),
    ):
        assert f"#SBATCH {line}" in lines
    plain = render("generic", GOOD)
    assert "--nodes=1\n" in plain
    for word in ("per-node", "gpus", "constraint", "reservation", "licenses"):
        assert word not in plain


def test_an_array_that_is_held_to_so_many_at_once_says_so() -> None:
    assert "#SBATCH --array=0-2%2\n" in render("generic", dataclasses.replace(GOOD, at_once=2))
    assert "#SBATCH --array=0-2\n" in render("generic", GOOD)


def test_no_path_holds_what_slurm_would_expand_in_file_names() -> None:
    with pytest.raises(ValueError, match="may not stand in a batch script"):
        render("generic", dataclasses.replace(GOOD, job_dir="/scratch/%u"))


def test_the_shell_finds_no_fault_with_it() -> None:
    script = render("generic", GOOD)
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_directive_that_is_not_set_is_not_there() -> None:
    script = render("generic", dataclasses.replace(GOOD, partition=None, account=None, qos="low"))
    assert "--qos=low" in script
    assert "--partition" not in script
    assert "--account" not in script
    assert "None" not in script


class TestASitesOwnTemplate:
    def test_it_is_used_by_its_path(self, tmp_path: Path) -> None:
        own = tmp_path / "own.j2"
        own.write_text(
            "#!/bin/bash\n#SBATCH --constraint=cpu\n#SBATCH --mem={{ v.memory_mb }}M\ntrue\n"
        )
        assert render(str(own), GOOD) == (
            "#!/bin/bash\n#SBATCH --constraint=cpu\n#SBATCH --mem=306M\ntrue\n"
        )

    def test_its_lines_may_end_as_on_windows(self, tmp_path: Path) -> None:
        (tmp_path / "own.j2").write_bytes(b"#!/bin/sh\r\ntrue\r\n")
        assert render(f"{tmp_path}/own.j2", GOOD) == "#!/bin/sh\ntrue\n"

    def test_it_may_include_what_lies_beside_it(self, tmp_path: Path) -> None:
        (tmp_path / "head.j2").write_text("#!/bin/sh\n")
        (tmp_path / "own.j2").write_text("{% include 'head.j2' %}\ntrue\n")
        assert render(f"{tmp_path}/own.j2", GOOD) == "#!/bin/sh\ntrue\n"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("#!/bin/sh\n{% if v.qos %}\n", r"own\.j2, line 2: .*endif"),
            ("#!/bin/sh\ntrue\n{{ v. }}\n", r"own\.j2, line 3: expected name"),
            ("#!/bin/sh\n\n\n{{ v.hosts }}\n", r"own\.j2, line 4: .*no attribute 'hosts'"),
            ("#!/bin/sh\n{{ partition }}\n", r"own\.j2, line 2: 'partition' is undefined"),
            ("#!/bin/sh\n{{ 1 / 0 }}\n", r"own\.j2, line 2: division by zero"),
            ("#!/bin/sh\n{{ v.qos | nope }}\n", r"own\.j2, line 2: No filter named 'nope'"),
            ("#!/bin/sh\n{% include 'none.j2' %}\n", r"own\.j2 wants none\.j2"),
            ("true\n", r"own\.j2, line 1: a batch script begins with #!"),
            ("", r"own\.j2, line 1: a batch script begins with #!"),
            ("#!/bin/sh\n# ü\n", r"own\.j2: line 2 of its script is not plain ASCII"),
            ("#!/bin/sh\ntrue", r"own\.j2: its script does not end"),
        ],
    )
    def test_a_mistake_in_it_is_told_by_file_and_line(
        self, tmp_path: Path, text: str, said: str
    ) -> None:
        (tmp_path / "own.j2").write_bytes(text.encode())
        with pytest.raises(ConfigError, match=said):
            render(f"{tmp_path}/own.j2", GOOD)

    def test_one_that_is_no_text_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "own.j2").write_bytes(b"#!/bin/sh\n\xff\n")
        with pytest.raises(ConfigError, match=r"own\.j2 is not UTF-8"):
            render(f"{tmp_path}/own.j2", GOOD)

    def test_one_that_is_not_there_is_told_with_those_that_are(self, tmp_path: Path) -> None:
        for name in ("nope", f"{tmp_path}/none.j2", str(tmp_path)):
            with pytest.raises(
                ConfigError, match=r"is not there; known: generic, perlmutter, or an absolute"
            ):
                template_path(name)

    @pytest.mark.parametrize("name", ["../generic", "a/b", "", "gen eric", "~/t.j2"])
    def test_a_name_that_is_a_way_is_refused(self, name: str) -> None:
        with pytest.raises(ConfigError, match=r"neither a name .* nor an absolute path"):
            template_path(name)


def test_every_template_of_the_release_renders() -> None:
    folder = template_path("generic").parent
    names = [path.name.removesuffix(".sbatch.j2") for path in folder.glob("*.sbatch.j2")]
    assert "generic" in names
    for name in names:
        assert is_a_plain_script(render(name, dataclasses.replace(GOOD, qos="low")))


def test_modules_are_loaded_in_a_login_shell_and_are_nothing_but_names() -> None:
    for name in ("generic", "perlmutter"):
        script = render(name, dataclasses.replace(GOOD, modules=("apptainer/1.4", "python/3.11")))
        assert script.startswith("#!/bin/bash -l\n#SBATCH ")
        assert "\nmodule load apptainer/1.4 python/3.11\nexec " in script
    for word in ("a b", "a;id", "$(id)", "-x", "", "a\nb", "é"):
        with pytest.raises(ValueError, match="may not stand in a batch script"):
            render("generic", dataclasses.replace(GOOD, modules=("good", word)))


def test_perlmutter_has_a_constraint_for_each_job_and_gpus_by_the_node() -> None:
    assert "#SBATCH --constraint=cpu\n" in render("perlmutter", GOOD)
    on_gpus = render("perlmutter", dataclasses.replace(GOOD, gpus=2, nodes=2))
    assert "#SBATCH --constraint=gpu\n" in on_gpus
    assert "#SBATCH --gpus-per-node=2\n" in on_gpus
    own = dataclasses.replace(
        GOOD, gpus=1, per_task=2, constraint="gpu&hbm80g", licenses="cfs,scratch"
    )
    script = render("perlmutter", own)
    assert script.count("--constraint") == 1
    for line in ("--constraint=gpu&hbm80g", "--gpus-per-node=2", "--licenses=cfs,scratch"):
        assert f"#SBATCH {line}\n" in script


@settings(max_examples=50)
@given(VALUES)
def test_perlmutters_is_as_plain_whatever_the_values(values: ScriptValues) -> None:
    assert is_a_plain_script(render("perlmutter", values))


@pytest.mark.cluster
def test_slurm_takes_a_rendered_script(site: DevCluster) -> None:
    script = render("generic", GOOD)
    done = site.run("sbatch", "--test-only", user="ctsjob", text=script, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Job [0-9]+ to start at", done.stderr)
    wrong = render("generic", dataclasses.replace(GOOD, partition="none"))
    assert site.run("sbatch", "--test-only", user="ctsjob", text=wrong, check=False).returncode == 1
