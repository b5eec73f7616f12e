import pytest
from hypothesis import given
from hypothesis import strategies as st

from sats_core.data.protocols import PROTOCOLS, VOC, Protocol, Setting, step_pictures
from sats_core.errors import ClassError

ADE = tuple(f"class {i}" for i in range(150))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("voc-19-1", (19, 1)),
        ("voc-15-5", (15, 5)),
        ("voc-15-1", (15, 1, 1, 1, 1, 1)),
        ("voc-10-1", (10, *[1] * 10)),
        ("voc-5-3", (5, 3, 3, 3, 3, 3)),
        ("ade20k-100-50", (100, 50)),
        ("ade20k-100-10", (100, 10, 10, 10, 10, 10)),
        ("ade20k-100-5", (100, *[5] * 10)),
        ("ade20k-50-50", (50, 50, 50)),
        ("ade20k-25-25", (25, *[25] * 5)),
        ("voc8-4-1", (4, 1, 1, 1, 1)),
        ("ccp-15-1", (15, *[1] * 7)),
        ("ccp-10-1", (10, *[1] * 12)),
        ("ccp-15-7", (15, 7)),
        ("ccp-15-3", (15, 3)),
        ("ccp-15-5", (15, 5)),
        ("voc8-4-4", (4, 4)),
        ("voc8-4-3", (4, 3)),
        ("drawn-6-1", (6, 1, 1, 1, 1)),
    ],
)
def test_presets(name: str, sizes: tuple[int, ...]) -> None:
    protocol = PROTOCOLS[name]
    assert protocol.sizes == sizes
    steps = protocol.steps(protocol.order or ADE)
    assert tuple(map(len, steps)) == sizes
    assert tuple(c for step in steps for c in step) == (protocol.order or ADE)


def test_every_preset_is_tested() -> None:
    assert len(PROTOCOLS) == 19


def test_a_data_set_that_lacks_a_class_is_named() -> None:
    with pytest.raises(ClassError, match="aeroplane"):
        PROTOCOLS["voc-15-1"].steps(VOC[1:])
    with pytest.raises(ClassError, match="150"):
        PROTOCOLS["ade20k-100-50"].steps(ADE[:-1])


STEPS = (("a", "b"), ("c",), ("d",))
Shown = dict[str, frozenset[str]]
shown = st.dictionaries(st.text("0123456789", min_size=1), st.frozensets(st.sampled_from("abcdx")))


@given(shown=shown, number=st.integers(0, 2))
def test_overlapped_takes_every_picture_of_the_steps_classes(shown: Shown, number: int) -> None:
    chosen = step_pictures(shown, STEPS, number, "overlapped")
    assert set(chosen) == {i for i, names in shown.items() if names & set(STEPS[number])}


@given(shown=shown)
def test_disjoint_shows_nothing_of_later_steps_and_no_picture_twice(shown: Shown) -> None:
    parts = [step_pictures(shown, STEPS, number, "disjoint") for number in range(3)]
    flat = [picture for part in parts for picture in part]
    assert len(flat) == len(set(flat))
    for number, part in enumerate(parts):
        later = {c for step in STEPS[number + 1 :] for c in step}
        assert all(shown[picture] & set(STEPS[number]) for picture in part)
        assert not any(shown[picture] & later for picture in part)


@pytest.mark.parametrize("setting", ["overlapped", "disjoint"])
def test_one_step_takes_whatever_shows_it(setting: Setting) -> None:
    protocol = Protocol("one", (1,), ("a",))
    pictures: Shown = {"1": frozenset("a"), "2": frozenset("x")}
    assert step_pictures(pictures, protocol.steps(["a"]), 0, setting) == ("1",)
