"""A file that is read by ranges is like any other."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.storage import BlobMissingError, BlobStoreDownError
from app.storage.ranges import RangedFile, read_in_ranges
from sats_core.data.sources import ZipSource
from sats_core.settings import Limits

DATA = bytes(range(256)) * 3

moves = st.tuples(st.just("seek"), st.integers(-300, 1000), st.sampled_from([0, 1, 2]))
reads = st.tuples(st.just("read"), st.integers(-1, 1000))


def fetch(start, size):
    assert 0 < size <= len(DATA) - start, "nobody asks for what there is not"
    return DATA[start : start + size]


def done(file, act, *given):
    try:
        return getattr(file, act)(*given)
    except ValueError:
        return "before the start"


@given(st.lists(moves | reads, max_size=20), st.sampled_from([1, 7, 64, 4096]))
def test_it_reads_and_seeks_as_a_file_in_memory_does(acts, buffer):
    alike = io.BytesIO(DATA)
    file = io.BufferedReader(RangedFile(len(DATA), fetch), buffer)
    for act in acts:
        if act[0] == "seek" and act[2] and alike.tell() * (act[2] == 1) + act[1] < 0:
            continue  # `BytesIO` stops at the start there, files say that it is before
        assert done(file, *act) == done(alike, *act), act


@pytest.mark.parametrize("why", [BlobMissingError("a"), BlobStoreDownError(5, "no answer")])
def test_what_fails_meanwhile_is_no_fault_of_the_zip(why):
    def fails(*_):
        raise why

    with (
        pytest.raises(type(why)) as raised,
        read_in_ranges(100, fails) as opener,
        ZipSource(opener, Limits()),
    ):
        pass
    assert raised.value is why
