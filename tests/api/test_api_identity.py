"""Who a uid is: the system's names, kept for a minute."""

from __future__ import annotations

import os
import pwd

import pytest

from gateway.api.directory import Directory


class Names:
    """An NSS of one user in very many groups, of which some have no name."""

    def __init__(self, groups: int) -> None:
        self.count = groups
        self.asked = 0
        self.asked_by_name: list[str] = []

    def user(self, uid: int) -> str:
        if uid != 1000:
            raise KeyError(uid)
        return "alice"

    def account(self, user: str) -> tuple[int, int]:
        self.asked_by_name.append(user)
        if user != "alice":
            raise KeyError(user)
        return 1000, 100

    def groups(self, user: str, gid: int) -> list[int]:
        return [gid, *range(1, self.count)]

    def group(self, gid: int) -> str:
        self.asked += 1
        if gid % 2:
            raise KeyError(gid)
        return f"g{gid}"


def test_a_user_in_thousands_of_groups_is_looked_up_once_a_minute() -> None:
    time = [0.0]
    names = Names(5000)
    directory = Directory(names, lambda: time[0])
    user, groups = directory.find(1000, 100)
    assert user == "alice"
    assert {"g100", "g4998", "4999"} <= groups
    assert names.asked == 5000
    names.count = 3
    time[0] = 59.0
    assert directory.find(1000, 100) == (user, groups)
    assert names.asked == 5000
    time[0] = 60.0
    assert directory.find(1000, 100)[1] == {"g100", "1", "g2"}


def test_a_user_who_took_another_group_with_newgrp_has_it() -> None:
    directory = Directory(Names(1))
    assert directory.find(1000, 100)[1] == {"g100"}
    assert directory.find(1000, 200)[1] == {"g200"}


def test_a_uid_without_a_name_is_no_user_and_is_asked_for_again() -> None:
    directory = Directory(Names(1))
    for _ in range(2):
        with pytest.raises(KeyError):
            directory.find(54321, 54321)


def test_the_system_knows_who_runs_this() -> None:
    user, groups = Directory().find(os.getuid(), os.getgid())
    assert user == pwd.getpwuid(os.getuid()).pw_name
    assert len(groups) >= 1


def test_a_user_by_name_has_the_same_groups_and_is_looked_up_once_a_minute() -> None:
    time = [0.0]
    names = Names(3)
    directory = Directory(names, lambda: time[0])
    for _ in range(2):
        assert directory.named("alice") == (1000, frozenset({"g100", "1", "g2"}))
    assert names.asked_by_name == ["alice"]
    time[0] = 60.0
    directory.named("alice")
    assert names.asked_by_name == ["alice", "alice"]


def test_a_name_that_the_machine_does_not_know_has_no_groups() -> None:
    assert Directory(Names(1)).named("robot") == (None, frozenset())
    assert Directory().named("no-such-user-here") == (None, frozenset())
    assert Directory().named("root")[0] == 0
