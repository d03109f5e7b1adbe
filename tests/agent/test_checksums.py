"""The agent's checksums against known values."""

from __future__ import annotations

import hashlib
import os

import pytest

from gateway.agent import crc64
from gateway.agent.complete import etag_of, part_list
from gateway.agent.crc import CRC32, CRC64NVME, Crc
from gateway.agent.hashing import Digest, joined_crc
from gateway.agent.s3http import Refused


def test_the_portable_crc_has_the_check_value_of_the_catalogue() -> None:
    assert crc64.portable(b"123456789") == 0xAE8B14860A799888
    assert CRC64NVME.encode(0xAE8B14860A799888) == "rosUhgp5mIg="


@pytest.mark.parametrize("size", [0, 1, 7, 65535, 65536, 65543, 200_003])
def test_the_portable_crc_equals_that_of_awscrt(size: int) -> None:
    native = crc64.native()
    assert native is not None
    data = os.urandom(size)
    assert crc64.portable(data) == native(data, 0)
    assert crc64.portable(data[size // 3 :], crc64.portable(data[: size // 3])) == native(data, 0)


@pytest.mark.parametrize("kind", [CRC64NVME, CRC32], ids=lambda kind: kind.name)
@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 99_999, 100_000])
def test_the_crc_of_a_whole_comes_from_those_of_its_halves(kind: Crc, size: int) -> None:
    data = os.urandom(100_000)
    first, second = kind.of(data[:size], 0), kind.of(data[size:], 0)
    assert kind.combine(first, second, len(data) - size) == kind.of(data, 0)


def test_a_crc_is_written_as_s3_has_it() -> None:
    assert CRC32.encode(CRC32.of(b"123456789", 0)) == "y/Q5Jg=="
    assert CRC32.header == "x-amz-checksum-crc32"


def test_the_etag_of_an_object_comes_from_those_of_its_parts() -> None:
    parts = [b"a", b"bc"]
    joined = b"".join(hashlib.md5(part).digest() for part in parts)
    etags = [hashlib.md5(part).hexdigest() for part in parts]
    assert etag_of(etags) == f"{hashlib.md5(joined).hexdigest()}-2"
    with pytest.raises(Refused, match="that are no MD5s"):
        etag_of(["opaque"])


def test_digests_of_pieces_join_to_that_of_all() -> None:
    data, sizes = os.urandom(100), [40, 25, 35]
    whole = Digest(whole=False, part_sizes=sizes, crc=CRC64NVME)
    whole.update(data)
    first, second = (
        Digest(whole=False, part_sizes=s, crc=CRC64NVME) for s in (sizes[:2], sizes[2:])
    )
    first.update(data[:65])
    second.update(memoryview(data)[65:])
    assert joined_crc([first, second]) == joined_crc([first, second]) == whole.crc
    first.join(second)
    assert (first.etag, first.crc) == (whole.etag, whole.crc)


@pytest.mark.parametrize("chunk", [1, 3, 4, 5, 100])
def test_the_etag_of_unequal_parts_does_not_depend_on_how_the_bytes_come(chunk: int) -> None:
    data, sizes = b"0123456789abc", [4, 7, 2]
    digest = Digest(whole=True, part_sizes=sizes, crc=None)
    for at in range(0, len(data), chunk):
        digest.update(data[at : at + chunk])
    joined = b"".join(hashlib.md5(p).digest() for p in (data[:4], data[4:11], data[11:]))
    assert digest.etag == f"{hashlib.md5(joined).hexdigest()}-3"
    assert digest.md5 == hashlib.md5(data).digest()


def test_the_part_list_numbers_parts_from_one() -> None:
    assert b"<PartNumber>1</PartNumber><ETag>&quot;" not in part_list(["00"])
    assert b'<Part><PartNumber>1</PartNumber><ETag>"00"</ETag></Part>' in part_list(["00"])
