"""Which control groups a machine has, by what it has mounted."""

from __future__ import annotations

from pathlib import Path

import pytest
from devclusterlib import cgroups
from devclusterlib.settings import ClusterError

_SEPARATE = """\
tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0
cgroup /sys/fs/cgroup/freezer cgroup rw,relatime,freezer 0 0
cgroup /sys/fs/cgroup/devices cgroup rw,relatime,devices 0 0
cgroup /sys/fs/cgroup/cpuacct cgroup rw,relatime,cpuacct 0 0
cgroup /sys/fs/cgroup/blkio cgroup rw,relatime,blkio 0 0
"""
_V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate 0 0\n"


def test_separate_v1_hierarchies_are_found_and_no_other_is_taken() -> None:
    found = cgroups.hierarchies(_SEPARATE)
    assert set(found) == {"memory", "cpuset", "freezer", "devices", "cpuacct"}
    assert found["memory"] == Path("/sys/fs/cgroup/memory")


def test_controllers_that_are_mounted_together_stay_together() -> None:
    together = _SEPARATE.replace("/cpuacct cgroup rw,relatime,cpuacct", "/x cgroup rw,cpu,cpuacct")
    assert cgroups.hierarchies(together)["cpu,cpuacct"] == Path("/sys/fs/cgroup/x")


def test_v1_without_one_of_the_controllers_is_no_v1() -> None:
    assert cgroups.hierarchies(_SEPARATE.replace(",memory", "")) == {}
    assert cgroups.hierarchies(_V2) == {}


def test_every_flavour_but_none_has_groups_named_after_the_cluster() -> None:
    assert cgroups.groups("two", "none") == []
    assert cgroups.groups("two", "v2") == [Path("/sys/fs/cgroup/cts-two")]


def test_none_is_usable_everywhere_and_makes_nothing() -> None:
    assert cgroups.usable("none")
    cgroups.make("unit", "none")
    cgroups.enter("unit", "none")


def test_a_kind_that_the_machine_lacks_is_refused() -> None:
    lacking = "v2" if cgroups.detect() != "v2" else "v1"
    with pytest.raises(ClusterError, match=f"cgroup {lacking} cannot be used"):
        cgroups.make("unit", lacking)
