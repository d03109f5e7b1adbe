"""The configuration file: each key has its rule, each mistake a line that names file, key and what would be right."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import (
    Config,
    PathRule,
    SiteSection,
    load_config,
    parse_config,
    warnings_of,
)
from gateway.errors import ConfigError
from tests.conftest import CHECKOUT

EXAMPLE = CHECKOUT / "deploy/gateway.toml.example"
SMALLEST = """
[s3]
credentials_file = "/etc/cts/s3"
[sites.dev]
work_dir = "/scratch/cts"
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(tomllib.loads(text), "gateway.toml")
    return str(caught.value).split("\n")


def with_key(section: str, line: str) -> str:
    """Return the smallest configuration with a line put into one of its sections."""
    head = f"[{section}]\n"
    if head in SMALLEST:
        return SMALLEST.replace(head, head + line + "\n")
    return f"{SMALLEST}\n{head}{line}\n"


class TestTheWholeFile:
    def test_the_smallest_has_the_documented_defaults(self) -> None:
        found = parse_config(tomllib.loads(SMALLEST))
        whole = parse_config(tomllib.loads(EXAMPLE.read_text(encoding="utf-8")))
        assert found.gateway == whole.gateway
        assert found.api == whole.api
        assert found.database == whole.database
        assert found.images == whole.images
        assert found.roles == whole.roles
        needed = {"credentials_file"}
        assert found.s3.model_dump(exclude=needed) == whole.s3.model_dump(exclude=needed)
        own = {"work_dir", "helper", "slurm_user"}
        assert found.sites["dev"].model_dump(exclude=own) == whole.sites["dev"].model_dump(
            exclude=own
        )

    def test_every_key_stands_in_the_example(self) -> None:
        text = EXAMPLE.read_text(encoding="utf-8")
        for name in Config.model_fields:
            assert re.search(rf"^(# )?\[+{name}\b", text, re.MULTILINE), name
        sections = [field.annotation for field in Config.model_fields.values()]
        for model in (*sections, SiteSection, PathRule):
            for key in getattr(model, "model_fields", {}):
                table = rf"\[(?:sites\.dev\.{key}|s3\.{key}\.\w+)\]"
                assert re.search(rf"^(# )?({key} = |{table})", text, re.MULTILINE), key

    def test_a_file_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "gateway.toml").write_text(SMALLEST)
        assert load_config(tmp_path / "gateway.toml").sites["dev"].work_dir == Path("/scratch/cts")

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (None, "cannot read the configuration {}: No such file or directory"),
            (b"[s3", "{} is not valid TOML: "),
            (b"a = 1\na = 2", "{} is not valid TOML: "),
            (b"\xff", "{} is not valid TOML: "),
            (b"x = 1", "{}: s3: this key is required"),
        ],
    )
    def test_a_file_that_cannot_be_used_is_named(
        self, tmp_path: Path, content: bytes | None, said: str
    ) -> None:
        path = tmp_path / "gateway.toml"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert str(caught.value).startswith(said.format(path))

    def test_every_mistake_has_its_line(self) -> None:
        lines = mistakes(SMALLEST.replace("work_dir", "workdir") + "nodes = 0\n[api]\nsocket = 5\n")
        assert [line.split(": ")[1] for line in sorted(lines)] == [
            "api.socket",
            "sites.dev.nodes",
            "sites.dev.work_dir",
            "sites.dev.workdir",
        ]
        assert all(line.startswith("gateway.toml: ") for line in lines)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from([*Config.model_fields, "dev", "work_dir", "path"])
                    | st.text(max_size=3),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=10,
        ).filter(lambda value: isinstance(value, dict))
    )
    def test_no_content_makes_it_raise_anything_else(self, raw: Any) -> None:
        with pytest.raises(ConfigError):
            parse_config(raw)


def test_no_site_has_the_name_that_stands_for_any() -> None:
    text = SMALLEST.replace("[sites.dev]", "[sites.any]")
    (found,) = mistakes(text)
    assert found == (
        "gateway.toml: sites.any: jobs write 'any' for whichever site starts them first; use another name"
    )


class TestUnknownKeys:
    @pytest.mark.parametrize(
        ("section", "line", "said"),
        [
            ("gateway", "nmae = 'x'", "gateway.nmae: unknown key; did you mean 'name'?"),
            ("api", "sokcet = '/x'", "api.sokcet: unknown key; did you mean 'socket'?"),
            ("database", "uri = 'x'", "database.uri: unknown key; did you mean 'url'?"),
            ("s3", "endpoint = 'x'", "s3.endpoint: unknown key; did you mean 'endpoint_url'?"),
            (
                "images",
                "timeout = 5",
                "images.timeout: unknown key; did you mean 'timeout_seconds'?",
            ),
            ("roles", "admins = []", "roles.admins: unknown key; did you mean 'admin_"),
            (
                "sites.dev",
                "templates = 'x'",
                "sites.dev.templates: unknown key; did you mean 'temp",
            ),
            (
                "sites.dev",
                "xyzzy = 1",
                "sites.dev.xyzzy: unknown key; known here: account, accounts, active, apptainer",
            ),
            ("databse", "url = 'x'", "databse: unknown key; did you mean 'database'?"),
        ],
    )
    def test_the_nearest_known_one_is_named_at_every_level(
        self, section: str, line: str, said: str
    ) -> None:
        (found,) = mistakes(with_key(section, line))
        assert found.startswith(f"gateway.toml: {said}")

    def test_in_a_path_rule_too(self) -> None:
        rules = (
            '[[path_rules]]\npath = "a"\nperm = "read"\n[[path_rules]]\npath = "b"\nprem = "read"\n'
        )
        lines = mistakes(SMALLEST + rules)
        assert "gateway.toml: path_rules.1.prem: unknown key; did you mean 'perm'?" in lines
        assert any(
            line.startswith("gateway.toml: path_rules.1.perm: this key is req") for line in lines
        )


class TestRequired:
    @pytest.mark.parametrize(
        ("text", "key"),
        [
            ('[sites.dev]\nwork_dir = "/a"\n', "s3"),
            ('[s3]\n[sites.dev]\nwork_dir = "/a"\n', "s3.credentials_file"),
            ('[s3]\ncredentials_file = "/a"\n', "sites"),
            ('[s3]\ncredentials_file = "/a"\n[sites.dev]\n', "sites.dev.work_dir"),
        ],
    )
    def test_a_key_that_is_missing_is_named(self, text: str, key: str) -> None:
        (found,) = mistakes(text)
        assert (
            found == f"gateway.toml: {key}: this key is required; see deploy/gateway.toml.example"
        )

    def test_without_a_site_there_is_nothing_to_do(self) -> None:
        (found,) = mistakes('[s3]\ncredentials_file = "/a"\n[sites]\n')
        assert found == "gateway.toml: sites: name at least one site, as [sites.NAME]"


class TestSites:
    @pytest.mark.parametrize("name", ["dev", "perlmutter-2", "a_b", "0", "a" * 63])
    def test_a_good_name_is_taken(self, name: str) -> None:
        found = parse_config(tomllib.loads(SMALLEST.replace("sites.dev", f"sites.{name}")))
        assert list(found.sites) == [name]

    @pytest.mark.parametrize(
        "name", ["Dev", '"a b"', '""', "_a", "-a", '"a.b"', "a" * 64, '"ü"', '"a/b"']
    )
    def test_a_bad_name_is_refused_with_the_rule(self, name: str) -> None:
        (found,) = mistakes(SMALLEST.replace("sites.dev", f"sites.{name}"))
        assert "a site's name is lower-case letters, digits, - and _, at most 63" in found


BAD = [
    ("gateway", "name = 5", "valid string"),
    ("gateway", 'instance = "Dev"', "should match pattern"),
    ("gateway", 'instance = "-a"', "should match pattern"),
    ("gateway", 'instance = ""', "should match pattern"),
    ("gateway", 'log_format = "xml"', "'text' or 'json', not 'xml'"),
    ("api", 'socket = "cts.sock"', "must be an absolute path, not 'cts.sock'"),
    ("api", f'socket = "/{"x" * 107}"', "a socket's path has at most 107 bytes; use a shorter one"),
    ("database", 'url_file = "url"', "must be an absolute path"),
    ("s3", "insecure = 1", "valid boolean"),
    ("s3", 'insecure = "no"', "valid boolean"),
    ("s3", 'addressing = "dns"', "'path' or 'virtual', not 'dns'"),
    ("s3", 'ca_file = "ca.pem"', "must be an absolute path"),
    ("s3", "grant_seconds = 59", "greater than or equal to 60"),
    ("s3", "grant_seconds = 604801", "less than or equal to 604800"),
    ("s3", 'part_size = "4 MiB"', "greater than or equal to 5242880"),
    ("s3", 'part_size = "6 GiB"', "less than or equal to"),
    ("s3", 'part_size = "large"', "could not parse value and unit"),
    ("s3", 'part_size = "5 parsecs"', "could not interpret byte unit"),
    ("images", "crane = []", "valid string"),
    ("images", 'insecure_registries = "a:5000"', "valid array"),
    ("images", "insecure_registries = [5000]", "valid string"),
    ("images", 'docker_config_dir = "docker"', "must be an absolute path"),
    ("images", "timeout_seconds = 0", "greater than or equal to 1"),
    ("images", "timeout_seconds = 3601", "less than or equal to 3600"),
    ("roles", 'admin_users = "ada"', "valid array"),
    ("roles", "admin_groups = [1]", "valid string"),
    ("sites.dev", 'backend = "pbs"', "'auto', 'cli', 'ssh', 'rest' or 'pyslurm', not 'pbs'"),
    ("sites.dev", 'helper = "sudo cts-helper"', "valid array"),
    ("sites.dev", 'slurm_bin = "bin"', "must be an absolute path"),
    ("sites.dev", 'slurm_user = "a b"', "should match pattern"),
    ("sites.dev", 'slurm_user = ""', "should match pattern"),
    ("sites.dev", 'slurm_user = "--all"', "should match pattern"),
    ("sites.dev", "template = 5", "valid string"),
    ("sites.dev", 'partition = "a b"', "should match pattern"),
    ("sites.dev", 'partition = "a\\n"', "should match pattern"),
    ("sites.dev", 'account = "-x"', "should match pattern"),
    ("sites.dev", 'qos = "a;b"', "should match pattern"),
    ("sites.dev", 'python = "python3"', "must be absolute and of the characters"),
    ("sites.dev", 'python = "/opt/my python"', "must be absolute and of the characters"),
    ("sites.dev", 'apptainer = "/a$b"', "must be absolute and of the characters"),
    ("sites.dev", 'scratch = "/tmp/%u"', "must be absolute and of the characters"),
    ("sites.dev", 'apptainer_flags = "--nv"', "valid array"),
    ("sites.dev", 'active = "yes"', "valid boolean"),
    ("sites.dev", 'notes = "x"', "valid array"),
    ("sites.dev", "nodes = 0", "greater than or equal to 1"),
    ("sites.dev", 'nodes = "4"', "valid integer"),
    ("sites.dev", "nodes = true", "valid integer"),
    ("sites.dev", "nodes = 1.5", "valid integer"),
    ("sites.dev", "cpus_per_node = 0", "greater than or equal to 1"),
    ("sites.dev", 'memory_per_node = "1 kB"', "greater than or equal to 1000000"),
    ("sites.dev", "memory_per_node = true", "valid integer"),
    ("sites.dev", "max_runtime_min = 0", "greater than or equal to 1"),
    ("sites.dev", "max_cpu_hours = 0", "greater than 0"),
    ("sites.dev", "max_cpu_hours = inf", "finite number"),
    ("sites.dev", 'overhead_memory = "32 MiB"', "greater than or equal to 67108864"),
    ("sites.dev", "staging_minutes = -1", "greater than or equal to 0"),
    ("sites.dev", "signal_seconds = 9", "greater than or equal to 10"),
    ("sites.dev", "signal_seconds = 3601", "less than or equal to 3600"),
    ("sites.dev", "grace_seconds = -1", "greater than or equal to 0"),
    ("sites.dev", 'max_log_size = "10 B"', "greater than or equal to 1000"),
    ("sites.dev", "poll_seconds = 0.1", "greater than or equal to 0.2"),
    ("sites.dev", "poll_seconds = nan", "finite number"),
    ("sites.dev", "mailbox_seconds = 0.01", "greater than or equal to 0.02"),
    ("sites.dev", "mailbox_seconds = 61", "less than or equal to 60"),
    ("sites.dev", 'grants_url = "http://cts:8443"', "must be https:// and a host"),
    ("sites.dev", 'grants_url = "https://cts/api"', "must be https:// and a host"),
    ("sites.dev", 'grants_ca_file = "a.pem"', "must be an absolute path"),
    ("sites.dev", "command_timeout_seconds = 0.5", "greater than or equal to 1"),
    ("sites.dev", "keep_failed_days = -1", "greater than or equal to 0"),
]


@pytest.mark.parametrize(("section", "line", "said"), BAD)
def test_a_value_against_its_rule_is_refused_by_key_and_rule(
    section: str, line: str, said: str
) -> None:
    (found,) = mistakes(with_key(section, line))
    key = f"{section}.{line.partition(' ')[0]}"
    assert re.match(rf"gateway\.toml: {re.escape(key)}(\.0)?: ", found)
    assert said in found


@pytest.mark.parametrize(
    "path", ['"scratch"', '"/scratch/a b"', '"/scratch/$USER"', '"/s/%j"', '"/ü"', '""', '"~"', "5"]
)
def test_a_work_directory_holds_nothing_that_a_shell_acts_on(path: str) -> None:
    (found,) = mistakes(SMALLEST.replace('"/scratch/cts"', path))
    assert found.startswith("gateway.toml: sites.dev.work_dir: ")


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ('path = "a"\nperm = "rw"\n', "perm"),
        ('path = 5\nperm = "read"\n', "path"),
        ('path = "a"\nperm = "read"\nusers = "ada"\n', "users"),
        ('path = "a"\nperm = "read"\ngroups = [5]\n', "groups.0"),
    ],
)
def test_a_path_rule_against_its_rule_is_named_by_its_place(rule: str, key: str) -> None:
    (found,) = mistakes(f"{SMALLEST}[[path_rules]]\n{rule}")
    assert found.startswith(f"gateway.toml: path_rules.0.{key}: ")


@pytest.mark.parametrize(
    ("name", "value"), [("api", "5"), ("s3", '"x"'), ("sites", "[1]"), ("roles", "true")]
)
def test_a_section_that_is_a_value_is_told(name: str, value: str) -> None:
    text = re.sub(rf"\[{name}[^\]]*\]\n[^\[]*", "", SMALLEST)
    found = mistakes(f"{name} = {value}\n{text}")
    assert f"gateway.toml: {name}: this is a section, [{name}], and no value" in found


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("67108864", 67108864),
        ('"64 MiB"', 64 * 1024**2),
        ('"64MiB"', 64 * 1024**2),
        ('"100 MB"', 100 * 10**6),
        ('"1.5 GiB"', 3 * 2**29),
        ('"5242880"', 5242880),
    ],
)
def test_sizes_take_units_decimal_and_binary(written: str, size: int) -> None:
    found = parse_config(tomllib.loads(with_key("s3", f"part_size = {written}")))
    assert found.s3.part_size == size


class TestTheDatabasesUrl:
    def test_it_stands_in_the_file_or_in_one_of_its_own(self, tmp_path: Path) -> None:
        assert (
            parse_config(tomllib.loads(SMALLEST)).database_url() == "sqlite:////var/lib/cts/cts.db"
        )
        file = tmp_path / "url"
        file.write_text("postgresql+psycopg://cts:secret@db/cts\n")
        config = parse_config(tomllib.loads(with_key("database", f'url_file = "{file}"')))
        assert config.database_url() == "postgresql+psycopg://cts:secret@db/cts"

    @pytest.mark.parametrize(
        ("content", "said"), [(None, "No such file"), (b"\xff\xfe", "not UTF-8")]
    )
    def test_a_file_that_cannot_be_read_is_told(
        self, tmp_path: Path, content: bytes | None, said: str
    ) -> None:
        file = tmp_path / "url"
        if content is not None:
            file.write_bytes(content)
        config = parse_config(tomllib.loads(with_key("database", f'url_file = "{file}"')))
        with pytest.raises(ConfigError, match=rf"database\.url_file: cannot read {file}: {said}"):
            config.database_url()


class TestWarnings:
    @pytest.fixture
    def files(self, tmp_path: Path) -> dict[str, Path]:
        found = {name: tmp_path / name for name in ("gateway.toml", "s3", "url")}
        for file in found.values():
            file.touch(mode=0o600)
        return found

    def read(self, files: dict[str, Path], database: str) -> list[str]:
        text = SMALLEST.replace("/etc/cts/s3", str(files["s3"])) + f"[database]\n{database}\n"
        files["gateway.toml"].write_text(text)
        return warnings_of(files["gateway.toml"], load_config(files["gateway.toml"]))

    def test_secrets_that_only_their_owner_reads_are_no_matter(
        self, files: dict[str, Path]
    ) -> None:
        assert self.read(files, 'url = "postgresql+psycopg://cts:pw@db/cts"') == []
        assert self.read(files, f'url_file = "{files["url"]}"') == []

    def test_a_configuration_without_a_secret_may_be_read(self, files: dict[str, Path]) -> None:
        files["gateway.toml"].chmod(0o644)
        assert self.read(files, 'url = "sqlite:////var/lib/cts/cts.db"') == []
        assert self.read(files, 'url = "postgresql+psycopg://cts@db/cts"') == []

    def test_of_two_urls_the_one_without_effect_is_told(self, files: dict[str, Path]) -> None:
        (found,) = self.read(files, f'url = "sqlite:////a"\nurl_file = "{files["url"]}"')
        assert found.startswith("database.url in ")
        assert found.endswith("is not used: database.url_file goes before it")

    @pytest.mark.parametrize(
        ("name", "database"),
        [
            ("gateway.toml", 'url = "postgresql+psycopg://cts:pw@db/cts"'),
            ("s3", 'url = "sqlite:////a"'),
            ("url", 'url_file = "{}"'),
        ],
    )
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
    def test_a_secret_that_others_can_read_is_told_with_the_remedy(
        self, files: dict[str, Path], name: str, database: str, mode: int
    ) -> None:
        files[name].chmod(mode)
        (found,) = self.read(files, database.format(files["url"]))
        assert (
            f"{files[name]} can be read by others (mode {mode:04o}): chmod 600 {files[name]}"
            in found
        )
        assert "pw" not in found
