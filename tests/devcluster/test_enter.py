"""Who a user of the site is, read from the site's own files."""

from __future__ import annotations

from pathlib import Path

import pytest
from devclusterlib.enter import Ended, Identity, identity
from devclusterlib.settings import ClusterError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory with users."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/bash\n"
        "daemon:x:1:1::/usr/sbin:/usr/sbin/nologin\n"
        "ada:x:2003:2003::/home/ada:/bin/bash\n"
    )
    (tmp_path / "etc/group").write_text("root:x:0:\nada:x:2003:\nctsadmin:x:990:bob,ada\n")
    return tmp_path


def test_a_user_has_the_groups_that_list_him_beside_his_own(root: Path) -> None:
    assert identity(root, "ada") == Identity(
        "ada", 2003, 2003, (990, 2003), "/home/ada", "/bin/bash"
    )


def test_an_unknown_user_is_answered_with_the_people_there_are(root: Path) -> None:
    with pytest.raises(ClusterError, match=r"no user 'zoe'; it has root, ada$"):
        identity(root, "zoe")


def test_an_end_by_a_signal_has_the_code_that_a_shell_gives_it() -> None:
    assert Ended(7).shell_code == 7
    assert Ended(0, signal=15).shell_code == 143
