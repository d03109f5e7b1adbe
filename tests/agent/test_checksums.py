"""The agent's checksums against known values."""

from __future__ import annotations

import hashlib
import os

import pytest

from gateway.agent import crc64
from gateway.agent.complete import part_list
from gateway.agent.hashing import Digest


def test_the_portable_crc_has_the_check_value_of_the_catalogue() -> None:
    assert crc64.portable(b"123456789") == 0xAE8B14860A799888
    assert crc64.encode(0xAE8B14860A799888) == "rosUhgp5mIg="


@pytest.mark.parametrize("size", [0, 1, 7, 65535, 65536, 65543, 200_003])
def test_the_portable_crc_equals_that_of_awscrt(size: int) -> None:
    native = crc64.native()
    assert native is not None
    data = os.urandom(size)
    assert crc64.portable(data) == native(data, 0)
    assert crc64.portable(data[size // 3 :], crc64.portable(data[: size // 3])) == native(data, 0)


@pytest.mark.parametrize("chunk", [1, 3, 4, 5, 100])
def test_the_etag_of_unequal_parts_does_not_depend_on_how_the_bytes_come(chunk: int) -> None:
    data, sizes = b"0123456789abc", [4, 7, 2]
    digest = Digest(whole=True, part_sizes=sizes, crc=False)
    for at in range(0, len(data), chunk):
        digest.update(data[at : at + chunk])
    joined = b"".join(hashlib.md5(p).digest() for p in (data[:4], data[4:11], data[11:]))
    assert digest.etag == f"{hashlib.md5(joined).hexdigest()}-3"
    assert digest.md5 == hashlib.md5(data).digest()


def test_the_part_list_numbers_parts_from_one() -> None:
    assert b"<PartNumber>1</PartNumber><ETag>&quot;" not in part_list([b"\0"])
    assert b'<Part><PartNumber>1</PartNumber><ETag>"00"</ETag></Part>' in part_list([b"\0"])
