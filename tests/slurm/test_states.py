"""Every state of Slurm is an end only where Slurm means an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.slurm.states import TABLE, Meaning, lookup

# What job_state_string() of Slurm 22.05 to 26.05 can print.
BASE_ENDS = {
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
    "OUT_OF_MEMORY",
}
OTHERS = {
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "COMPLETING",
    "STAGE_OUT",
    "CONFIGURING",
    "EXPEDITING",
    "RESIZING",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "SPECIAL_EXIT",
    "STOPPED",
    "RESV_DEL_HOLD",
    "SIGNALING",
}


def test_the_table_knows_every_state_that_slurm_prints() -> None:
    assert set(TABLE) >= BASE_ENDS | OTHERS | {"REVOKED"}


def test_only_ends_are_ends() -> None:
    ended = {name for name, row in TABLE.items() if row.meaning is Meaning.ENDED}
    assert ended == BASE_ENDS | {"REVOKED", "FORGOTTEN"}


def test_each_end_has_a_sentence_of_its_own_that_names_it() -> None:
    rows = {name: row for name, row in TABLE.items() if row.meaning is Meaning.ENDED}
    assert len({row.message for row in rows.values()}) == len(rows)
    assert all(name in row.message for name, row in rows.items())


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ("CANCELLED by 2001", "CANCELLED"),
        ("CANCELLED+", "CANCELLED"),
        ("OUT_OF_ME+", "OUT_OF_MEMORY"),
        ("RESV_DEL_+", "RESV_DEL_HOLD"),
        (" NODE_FAIL ", "NODE_FAIL"),
    ],
)
def test_a_state_is_found_however_slurm_writes_it(state: str, name: str) -> None:
    assert lookup(state) is TABLE[name]


@pytest.mark.parametrize("state", ["", "?", "+", "MELTED", "COMPLET+", "RE+", "completed", "0x2f"])
def test_a_state_that_is_not_known_for_sure_is_no_end(state: str) -> None:
    assert lookup(state).meaning is Meaning.ACTIVE


@given(st.text())
def test_no_state_makes_it_raise(state: str) -> None:
    assert lookup(state).meaning in Meaning
