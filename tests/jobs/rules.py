"""The protocol's rules on what a container is given: for each, a document that breaks it, its appcode, its place, its remedy.

Read by tests of the model alone and by those that ask the real site.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Doc = dict[str, Any]
Loc = tuple[str | int, ...]
A, B = "sample-data/reads/sample-2.txt", "sample-data/reads/sample-3.txt"
BASE: Doc = {
    "cluster": "dev",
    "image": "alpine",
    "input_files": [A, B],
    "output_dir": "results/rules",
}
VALIDATION, PARAMETER, S3 = 30010, 30001, 30020


class Rule(NamedTuple):
    """What is set over `BASE`, and what the refusal must say: appcode, place, and words of the rule or remedy."""

    changes: Doc
    appcode: int
    loc: Loc
    said: str
    without: tuple[str, ...] = ()


def args(*items: Any) -> Doc:
    return {"params": {"args": list(items)}}


def env(**items: Any) -> Doc:
    return {"params": {"environment": items}}


def files(*texts: Any) -> Doc:
    return {"input_files": list(texts)}


FILES = {"type": "input_files", "input_files_format": "space_separated_list"}
COMMA = {"type": "input_files", "input_files_format": "comma_separated_list"}
REPEAT = {"type": "input_files", "input_files_format": "repeat_parameter"}
MANIFEST = {"type": "manifest_file", "manifest_file_format": "files"}
IDS = {"type": "manifest_file", "manifest_file_format": "data_ids"}
NUMBER = {"type": "container_number"}
ONE = ("input_files", 0)
ARG: Loc = ("params", "args", 0)
VAR: Loc = ("params", "environment", "V")
CRC = "kfkuV7kCEh4="

RULES = [
    Rule({}, VALIDATION, ("input_files",), "is required", ("input_files",)),
    Rule(files(), VALIDATION, ("input_files",), "1 to 10000"),
    Rule({"input_files": [f"bkt/{n}" for n in range(10_001)]}, VALIDATION, ("input_files",), "1 to 10000"),
    Rule(files(A, {"file": B}), VALIDATION, ("input_files", 1), "write all as"),
    Rule(files({"file": A}, B), VALIDATION, ("input_files", 1), "write all as"),
    Rule(files(A, A), VALIDATION, ("input_files", 1), "list each file once"),
    Rule(files(7), VALIDATION, ONE, "must be text"),
    Rule(files({"file": A, "etag": "x"}), VALIDATION, (*ONE, "etag"), "known here are"),
    Rule(files({"crc64nvme": CRC}), VALIDATION, (*ONE, "file"), "is required"),
    Rule(files({"file": A, "crc64nvme": "AAAA"}), VALIDATION, (*ONE, "crc64nvme"), "12 characters"),
    Rule(files({"file": A, "crc64nvme": "kfkuV7kCEh5="}), VALIDATION, (*ONE, "crc64nvme"), "base64"),
    Rule(files({"file": A, "data_id": ""}), VALIDATION, (*ONE, "data_id"), "1 to 255"),
    Rule(files({"file": A, "data_id": "x" * 256}), VALIDATION, (*ONE, "data_id"), "1 to 255"),
    Rule(files({"file": A, "data_id": "x"}, {"file": B}), VALIDATION, ("input_files", 1), "for every file or for none"),
    Rule(files("/" + A), S3, ONE, "begin with the bucket"),
    Rule(files("s3://" + A), S3, ONE, "leave out s3://"),
    Rule(files("sample-data"), S3, ONE, "add the object's key"),
    Rule(files("sample-data/a//b"), S3, ONE, "one slash between"),
    Rule(files("sample-data/a/"), S3, ONE, "is a prefix"),
    Rule(files("sample-data/../b"), S3, ONE, "without . and .."),
    Rule(files("sample-data/./b"), S3, ONE, "without . and .."),
    Rule(files("sample-data/a'b"), S3, ONE, "copy the object"),
    Rule(files("sample-data/a;b"), S3, ONE, "copy the object"),
    Rule(files("sample-data/a\nb"), S3, ONE, "printable"),
    Rule(files("sample-data/" + "k" * 1025), S3, ONE, "at most 1024 bytes"),
    Rule(files("Sample/a"), S3, ONE, "lower-case"),
    Rule(files("ab/a"), S3, ONE, "3 to 63"),
    Rule(files("a.b.c/a"), S3, ONE, "letters, digits and dashes"),
    Rule(files("-ab/a"), S3, ONE, "no dash at either end"),
    Rule({"output_dir": "results"}, S3, ("output_dir",), "add a prefix"),
    Rule({"output_dir": "results/a/../b"}, S3, ("output_dir",), "without . and .."),
    Rule({"num_containers": 0}, VALIDATION, ("num_containers",), "at least 1"),
    Rule({"num_containers": 1001}, VALIDATION, ("num_containers",), "at most 1000"),
    Rule({"num_containers": 3}, VALIDATION, ("num_containers",), "ask for at most 2"),
    Rule({"num_containers": "2"}, VALIDATION, ("num_containers",), "whole number"),
    Rule({"input_roots": ["sample-data//x"]}, S3, ("input_roots", 0), "one slash"),
    Rule({"input_roots": [".."]}, S3, ("input_roots", 0), "no bucket name"),
    Rule(files("sample-data/a/x", "sample-data/b/x"), PARAMETER, ("input_files", 1), "sample-data/a/x"),
    Rule(files("sample-data/a", "sample-data/a/b") | {"input_roots": ["sample-data"]}, PARAMETER, ONE, "needs a directory"),
    Rule(files("sample-data/" + "k" * 256), PARAMETER, ONE, "shorter key"),
    Rule({"params": {"input_mount_point": "in"}}, VALIDATION, ("params", "input_mount_point"), "absolute path"),
    Rule({"params": {"input_mount_point": "/"}}, VALIDATION, ("params", "input_mount_point"), "root itself"),
    Rule({"params": {"input_mount_point": "/a/.."}}, VALIDATION, ("params", "input_mount_point"), "root itself"),
    Rule({"params": {"output_mount_point": "/.."}}, VALIDATION, ("params", "output_mount_point"), "above the root"),
    Rule({"params": {"output_mount_point": "/a b"}}, VALIDATION, ("params", "output_mount_point"), "A-Z a-z 0-9"),
    Rule({"params": {"refdata_mount_point": "/" + "a" * 1024}}, VALIDATION, ("params", "refdata_mount_point"), "at most 1024"),
    Rule({"params": {"output_mount_point": "/input_files/x"}}, VALIDATION, ("params", "output_mount_point"), "a directory of its own"),
    Rule({"params": {"declobber": "yes"}}, VALIDATION, ("params", "declobber"), "true or false"),
    Rule(args(""), VALIDATION, ARG, "1 to 1024"),
    Rule(args("x" * 1025), VALIDATION, ARG, "1 to 1024"),
    Rule(args("a\nb"), VALIDATION, ARG, "printable"),
    Rule(args(1), VALIDATION, ARG, "must be text"),
    Rule(args({}), VALIDATION, (*ARG, "type"), "is required"),
    Rule(args({"type": "files"}), VALIDATION, (*ARG, "type"), "manifest_file"),
    Rule(args({"type": "input_files"}), VALIDATION, (*ARG, "input_files_format"), "one of comma_separated_list"),
    Rule(args(FILES | {"input_files_format": "lines"}), VALIDATION, (*ARG, "input_files_format"), "must be"),
    Rule(args({"type": "manifest_file"}), VALIDATION, (*ARG, "manifest_file_format"), "one of files, data_ids"),
    Rule(args(MANIFEST | {"manifest_file_format": "x"}), VALIDATION, (*ARG, "manifest_file_format"), "must be"),
    Rule(args(MANIFEST | {"manifest_file_header": ""}), VALIDATION, (*ARG, "manifest_file_header"), "1 to 1000"),
    Rule(args(MANIFEST | {"manifest_file_header": "x" * 1001}), VALIDATION, (*ARG, "manifest_file_header"), "1 to 1000"),
    Rule(args(NUMBER | {"container_num_prefix": "a\n"}), VALIDATION, (*ARG, "container_num_prefix"), "printable"),
    Rule(args(NUMBER | {"container_num_suffix": ""}), VALIDATION, (*ARG, "container_num_suffix"), "1 to 1024"),
    Rule(args(NUMBER | {"number": 1}), VALIDATION, (*ARG, "number"), "known here are"),
    Rule(args(FILES | {"flag": "in"}), VALIDATION, (*ARG, "flag"), "one or two dashes"),
    Rule(args(FILES | {"flag": "---in"}), VALIDATION, (*ARG, "flag"), "one or two dashes"),
    Rule(args(FILES | {"flag": "--in ="}), VALIDATION, (*ARG, "flag"), "one or two dashes"),
    Rule(args(REPEAT), VALIDATION, (*ARG, "flag"), "needs a flag"),
    Rule(args(FILES, MANIFEST), VALIDATION, ("params", "args", 1), "at most one"),
    Rule({"params": {"args": [FILES], "environment": {"V": COMMA}}}, VALIDATION, VAR, "at most one"),
    Rule(args(IDS), VALIDATION, (*ARG, "manifest_file_format"), "use the format files"),
    Rule(args(IDS) | files({"file": A}, {"file": B}), VALIDATION, (*ARG, "manifest_file_format"), "data_id"),
    Rule(args(COMMA) | files("sample-data/a,b"), VALIDATION, ARG, "use space_separated_list"),
    Rule(args(MANIFEST) | files("sample-data/manifest-1"), PARAMETER, ONE, "rename the object"),
    Rule(env(V=FILES), VALIDATION, (*VAR, "input_files_format"), "for args alone"),
    Rule(env(V=REPEAT | {"flag": "-i"}), VALIDATION, (*VAR, "flag"), "leave it out"),
    Rule(env(V=NUMBER | {"flag": "-n"}), VALIDATION, (*VAR, "flag"), "leave it out"),
    Rule(env(v="x"), VALIDATION, ("params", "environment", "v"), "capitals"),
    Rule(env(**{"1V": "x"}), VALIDATION, ("params", "environment", "1V"), "not starting with a digit"),
    Rule(env(APPTAINER_BIND="x"), VALIDATION, ("params", "environment", "APPTAINER_BIND"), "choose another"),
    Rule({"shared_inputs": []}, VALIDATION, ("shared_inputs",), "1 to 10000"),
    Rule({"shared_inputs": ["sample-data/"]}, S3, ("shared_inputs", 0), "add the object's key"),
    Rule({"shared_inputs": [A]}, PARAMETER, ("shared_inputs", 0), "list each file once"),
    Rule({"shared_inputs": ["results/sample-2.txt"]}, PARAMETER, ("shared_inputs", 0), "input_roots"),
    Rule({"shared_inputs": [{"file": "bkt/x", "crc64nvme": "x"}]}, VALIDATION, ("shared_inputs", 0, "crc64nvme"), "12 characters"),
    Rule({"script": ""}, VALIDATION, ("script",), "1 to 65536"),
    Rule({"script": "x" * 65_537}, VALIDATION, ("script",), "1 to 65536"),
    Rule({"script": "#!bash\n"}, VALIDATION, ("script",), "absolute path"),
    Rule({"script": "#!/bin/sh\r\ntrue\r\n"}, VALIDATION, ("script",), "Unix line ends"),
    Rule({"script": "true"} | files("sample-data/cts-script"), PARAMETER, ONE, "rename the object"),
    Rule({"input_dirs": ["sample-data/a//"]}, S3, ("input_dirs", 0), "one slash"),
    Rule({"input_dirs": ["Sample"]}, S3, ("input_dirs", 0), "lower-case"),
    Rule({"input_dirs": [f"b-{n}" for n in range(101)]}, VALIDATION, ("input_dirs",), "at most 100"),
    Rule({"input_dirs": ["sample-data"]} | args(IDS) | files({"file": A, "data_id": "x"}), VALIDATION, (*ARG, "manifest_file_format"), "leave input_dirs and input_globs out"),
    Rule({"input_globs": ["sample-data/a//*"]}, S3, ("input_globs", 0), "one slash"),
    Rule({"input_globs": ["sample-*/a"]}, S3, ("input_globs", 0), "lower-case"),
    Rule({"input_globs": [f"b-{n}/*" for n in range(101)]}, VALIDATION, ("input_globs",), "at most 100"),
    Rule({"array": "1-x"}, VALIDATION, ("array",), "write 0-15"),
    Rule({"array": "3-1"}, VALIDATION, ("array",), "ranges rise"),
    Rule({"array": "0-1000"}, VALIDATION, ("array",), "several jobs"),
    Rule({"array": "0-9%0"}, VALIDATION, ("array",), "is no array"),
    Rule({"array": "0-3", "num_containers": 2}, VALIDATION, ("num_containers",), "must be 4, one container for each task"),
    Rule({"array": "0-1", "num_containers": 2, "split_points": [1]}, VALIDATION, ("split_points",), "does not go with array"),
    Rule({"split_points": [1]}, VALIDATION, ("split_points",), "ask for num_containers 2"),
    Rule({"split_points": [], "num_containers": 2}, VALIDATION, ("split_points",), "containers less one, 1"),
    Rule({"split_points": [0], "num_containers": 2}, VALIDATION, ("split_points",), "rising indexes of 1 to 1"),
    Rule({"split_points": [2], "num_containers": 2}, VALIDATION, ("split_points",), "rising indexes of 1 to 1"),
    Rule({"split_points": ["1"], "num_containers": 2}, VALIDATION, ("split_points", 0), "whole number"),
    Rule({"per_container_args": []}, VALIDATION, ("per_container_args",), "one list for each of the 1"),
    Rule({"per_container_args": [["a"], ["b"]]}, VALIDATION, ("per_container_args",), "one list for each of the 1"),
    Rule({"per_container_args": [["a\n"]]}, VALIDATION, ("per_container_args", 0, 0), "printable"),
    Rule({"per_container_args": [[{"type": "container_number"}]]}, VALIDATION, ("per_container_args", 0, 0), "must be text"),
]  # fmt: skip


def document(rule: Rule) -> Doc:
    """The whole document that breaks a rule."""
    return {key: value for key, value in (BASE | rule.changes).items() if key not in rule.without}
