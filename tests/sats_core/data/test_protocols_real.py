import pytest

from sats_core.data.protocols import PROTOCOLS, step_pictures
from sats_core.data.readers import open_reader
from sats_core.data.sources import DirectorySource
from sats_core.settings import Limits
from tests.fixtures.shared import shared


@pytest.mark.real
@pytest.mark.parametrize(
    ("protocol", "pictures"),
    [
        ("ccp-15-1", [803, 77, 68, 60, 59, 48, 50, 48]),
        ("ccp-10-1", [803, 137, 120, 98, 77, 82, 77, 68, 60, 59, 48, 50, 48]),
        ("voc8-4-1", [1800, 299, 262, 105, 90]),
    ],
)
def test_steps_of_the_real_pictures(protocol: str, pictures: list[int]) -> None:
    folder = shared("data", protocol.split("-")[0])
    with DirectorySource(folder, Limits()) as source:
        reader = open_reader(source)
        shown = {i: reader.shown(reader.label(i)) for i in reader.splits["train"]}
    steps = PROTOCOLS[protocol].steps(reader.classes)
    counts = [len(step_pictures(shown, steps, n, "overlapped")) for n in range(len(steps))]
    assert counts == pictures
    disjoint = [step_pictures(shown, steps, n, "disjoint") for n in range(len(steps))]
    flat = [picture for part in disjoint for picture in part]
    assert len(flat) == len(set(flat))
