"""A catalogue that classes are taken from."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sats_core.classes import Catalogue
from sats_core.errors import ClassError
from tests.fixtures.examples import examples

GROWN = Catalogue.empty().grow(["cat", "dog"]).grow(["cow"]).grow(["ewe", "fox"], (9, 20))


def test_what_stays_keeps_index_colour_and_step() -> None:
    left = GROWN.without(["dog", "ewe"])
    assert left.names == ("background", "cat", "cow", "fox")
    assert [(c.index, c.step) for c in left.classes] == [(0, 0), (1, 0), (3, 1), (20, 2)]
    assert set(left.classes) < set(GROWN.classes)
    assert left.channel("fox") == 3


def test_a_step_without_classes_is_left_out_of_the_sizes() -> None:
    assert GROWN.sizes() == (3, 1, 2)
    assert GROWN.without(["cow"]).sizes() == (3, 2)
    assert GROWN.without(["cat", "dog"]).sizes() == (1, 1, 2)
    assert GROWN.without(["ewe", "fox"]).grow(["elk"], (21,)).sizes() == (3, 1, 1)


@pytest.mark.parametrize("name", ["background", "elk"])
def test_what_cannot_go_is_refused(name: str) -> None:
    with pytest.raises(ClassError, match=f"the background stays|no class '{name}'"):
        GROWN.without([name])


@settings(max_examples=examples(100))
@given(gone=st.sets(st.sampled_from(GROWN.foreground), max_size=4), more=st.integers(1, 3))
def test_sizes_are_of_the_channels_in_their_order(gone: set[str], more: int) -> None:
    left = GROWN.without(gone).grow([f"new {i}" for i in range(more)], range(30, 30 + more))
    steps = [c.step for c in left.classes]
    assert steps == sorted(steps)
    assert sum(left.sizes()) == len(left)
    assert left.sizes()[-1] == more
    assert [len([s for s in steps if s == step]) for step in sorted(set(steps))] == list(
        left.sizes()
    )
