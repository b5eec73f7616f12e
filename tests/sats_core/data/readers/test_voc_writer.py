"""What is kept of a data set can be read back, whatever its pictures are called."""

import json
import posixpath
from collections.abc import Mapping
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sats_core.data.names import MAX_NAME, is_junk, name_fault
from sats_core.data.readers import open_reader, reading_order, write_voc_zip
from sats_core.data.sources import ZipSource
from sats_core.settings import Limits
from tests.fixtures.examples import examples
from tests.sats_core.data.drawn import colour_picture, encode, write_zip

LONGEST = MAX_NAME - len(".webp")
"""Characters of an id whose picture may be called by it alone."""


def is_clean(stem: str) -> bool:
    name = f"{stem}.webp"
    return name == posixpath.normpath(name) and not name_fault(name) and not is_junk(name)


STEMS = (
    st.tuples(st.text("aB \u00e9\u732b.-/", max_size=20), st.integers(0, LONGEST))
    .map(lambda drawn: (drawn[0] + "x" * drawn[1])[:LONGEST])
    .filter(is_clean)
)


@settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(stems=st.lists(STEMS, min_size=1, max_size=3, unique=True))
@example(stems=["x" * LONGEST, "x" * (LONGEST - 1)])
@example(stems=["a/" * (LONGEST // 2 - 1) + "b"])
def test_any_picture_that_is_read_can_be_kept(stems: list[str], tmp_path: Path) -> None:
    data = {
        f"{stem}.webp": encode(colour_picture(seed=place), "WEBP")
        for place, stem in enumerate(stems)
    }
    images = [
        {"id": place, "file_name": name, "height": 6, "width": 8} for place, name in enumerate(data)
    ]
    document = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    files = {"result.json": json.dumps(document).encode(), **data}
    with ZipSource(write_zip(tmp_path / "posted.zip", files), Limits()) as source:
        assert open_reader(source).ids == tuple(sorted(stems))
    ids = kept(tmp_path / "posted.zip", tmp_path / "kept.zip", data)
    assert kept(tmp_path / "kept.zip", tmp_path / "again.zip", data) == ids


def kept(path: Path, target: Path, data: Mapping[str, bytes]) -> tuple[str, ...]:
    """Write what a zip holds to another, and return what its pictures are called there."""
    with ZipSource(path, Limits()) as source:
        reader = open_reader(source)
        write_voc_zip(target, map(reader.encoded, reader.ids), reader.classes)
        order = [reader.encoded(one).data for one in reading_order(reader.ids)]
    with ZipSource(target, Limits()) as source:
        reader = open_reader(source)
        found = [reader.encoded(one).data for one in reader.ids]
        assert found == order
        assert sorted(found) == sorted(data.values())
        return reader.ids
