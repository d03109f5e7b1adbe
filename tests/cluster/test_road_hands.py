"""The contract of `Hands`: files at a site, by each road, whatever the user of the jobs has put there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.errors import SiteError
from tests.cluster.backends import ROADS, USER, Road, road_to
from tests.conftest import DevCluster

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", params=sorted(ROADS))
def road(request: pytest.FixtureRequest, site: DevCluster) -> Iterator[Road]:
    with road_to(site, request.param) as found:
        yield found


def _there(road: Road, script: str) -> str:
    """Run a shell script as the user of the jobs, in the work directory."""
    return road.site.run("sh", "-c", f"cd {road.work} && {script}", user=USER).stdout


def test_files_are_written_whole_and_for_their_owner_alone(road: Road) -> None:
    many = [(f"{road.work}/jobs/1/{n}/x", bytes([n]) * n) for n in range(100)]
    road.hands.write_files([*many, (f"{road.work}/jobs/1/0/x", b"again")])
    listed = _there(road, "stat -c '%a %U %n' jobs jobs/1 jobs/1/99 jobs/1/99/x; ls -A jobs/1/99")
    assert listed.splitlines() == [
        *(f"700 {USER} {name}" for name in ("jobs", "jobs/1", "jobs/1/99")),
        f"600 {USER} jobs/1/99/x",
        "x",  # and nothing of how it came there
    ]
    assert road.hands.read_file(f"{road.work}/jobs/1/0/x") == b"again"
    assert road.hands.size(f"{road.work}/jobs/1/99/x") == 99


def test_files_are_read_by_pieces_of_a_mebibyte_at_most(road: Road) -> None:
    data = bytes(range(256)) * 8192
    road.hands.write_files([(f"{road.work}/large", data)])
    assert road.hands.read_file(f"{road.work}/large", 5, 3) == b"\x05\x06\x07"
    assert road.hands.read_file(f"{road.work}/large", 256, 1 << 20) == data[256 : 256 + (1 << 20)]
    assert road.hands.read_file(f"{road.work}/large", len(data)) == b""


def test_what_is_not_there_is_none_and_no_error(road: Road) -> None:
    none = f"{road.work}/none/x"
    assert (road.hands.read_file(none), road.hands.size(none)) == (None, None)
    assert road.hands.scan(f"{road.work}/none", 5) == []
    road.hands.remove([none])


def test_a_link_leads_nowhere_and_a_pipe_holds_nobody_up(road: Road) -> None:
    script = "mkdir odd && cd odd && echo secret >../secret && ln -s ../secret a && mkfifo b && mkdir c && truncate -s 9M d && echo e >e"
    _there(road, script)
    odd = f"{road.work}/odd"
    for name in "abc":
        assert (road.hands.read_file(f"{odd}/{name}"), road.hands.size(f"{odd}/{name}")) == (
            None,
            None,
        )
    assert road.hands.scan(odd, 9) == [*((name, b"") for name in "abcd"), ("e", b"e\n")]
    assert road.hands.scan(odd, 2) == [("a", b""), ("b", b"")]
    road.hands.write_files([(f"{odd}/a", b"mine")])  # in the place of the link, not where it leads
    assert _there(road, "cat secret odd/a") == "secret\nmine"
    _there(road, "rm odd/a && ln -s .. odd/a && mkdir -p odd/c/shut/x && chmod 0 odd/c/shut")
    road.hands.remove([odd])
    assert _there(road, "ls -d secret; ls | grep odd || true") == "secret\n"


def test_nothing_beyond_the_work_directory_is_touched(road: Road) -> None:
    for path in ("/etc/hostname", f"{road.work}/../x", road.work):
        with pytest.raises(SiteError, match="is not below the work directory"):
            road.hands.read_file(path)
        with pytest.raises(SiteError, match="is not below the work directory"):
            road.hands.remove([path])


def test_what_cannot_be_written_is_told(road: Road) -> None:
    with pytest.raises(SiteError, match=r"cannot write .*File name too long"):
        road.hands.write_files([(f"{road.work}/{'x' * 300}", b"")])


def test_a_command_gives_its_code_and_its_words_and_nothing_is_for_a_shell(road: Road) -> None:
    done = road.hands.run(["scontrol", "show", "job", "$(id) `id` ; id"], 60)
    assert done.returncode != 0
    assert "uid=" not in done.stdout + done.stderr
    with pytest.raises(SiteError, match="sh is not among the commands of a site"):
        road.hands.run(["sh", "-c", "id"], 60)
