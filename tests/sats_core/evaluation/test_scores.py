import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sats_core.classes import Catalogue
from sats_core.data.labels import labelled_lookup, step_lookup
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.scores import scores_of


def counted(label: list[int], prediction: list[int], classes: int) -> ConfusionMatrix:
    matrix = ConfusionMatrix(classes)
    matrix.add(np.array([label], np.uint8), np.array([prediction], np.uint8))
    return matrix


def test_iou_by_hand() -> None:
    matrix = counted([0, 0, 1, 1, 1, 2, 255], [0, 1, 1, 1, 0, 0, 2], 4)
    iou = matrix.iou()
    assert iou[0] == pytest.approx(1 / 4)
    assert iou[1] == pytest.approx(2 / 4)
    assert iou[2] == 0
    assert iou[3] is None  # shown by no label
    assert matrix.accuracy() == pytest.approx(3 / 6)


def test_nothing_counted_is_no_figure() -> None:
    matrix = counted([255], [1], 2)
    assert matrix.iou() == [None, None]
    assert matrix.accuracy() is None


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60),
    st.integers(1, 59),
)
def test_counting_in_parts_is_counting_at_once(pairs: list[tuple[int, int]], cut: int) -> None:
    label, prediction = [p[0] for p in pairs], [p[1] for p in pairs]
    parts = ConfusionMatrix(5)
    for start, stop in ((0, cut), (cut, None)):
        parts.add(
            np.array([label[start:stop]], np.uint8), np.array([prediction[start:stop]], np.uint8)
        )
    whole = counted(label, prediction, 5)
    assert (parts.counts == whole.counts).all()
    for name, value in enumerate(whole.iou()):
        shown = {i for i, x in enumerate(label) if x == name}
        said = {i for i, x in enumerate(prediction) if x == name}
        assert value == (pytest.approx(len(shown & said) / len(shown | said)) if shown else None)


def test_a_base_step_has_no_old_classes() -> None:
    catalogue = Catalogue.empty().grow(["cat", "dog"])
    scores = scores_of(counted([0, 1, 2], [0, 1, 1], 3), catalogue, {}, 1)
    assert scores.miou_old is None
    assert scores.mean_forgetting is None
    assert scores.forgetting == {}
    assert scores.introduced == {"cat": 0.5, "dog": 0.0}
    assert scores.miou_new == pytest.approx(0.25)
    assert scores.miou_all == pytest.approx((1 + 0.5 + 0) / 3)


def test_forgetting_is_measured_against_the_version_that_brought_the_class() -> None:
    catalogue = Catalogue.empty().grow(["cat"]).grow(["dog"]).grow(["cow"])
    matrix = counted([0, 1, 1, 2, 3], [0, 1, 0, 2, 3], 4)
    scores = scores_of(matrix, catalogue, {"cat": 0.9, "dog": 0.7}, 1)
    assert scores.forgetting == pytest.approx({"cat": 0.4, "dog": -0.3})
    assert scores.mean_forgetting == pytest.approx(0.05)
    assert scores.introduced == {"cat": 0.9, "dog": 0.7, "cow": 1.0}
    assert scores.miou_old == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert scores.miou_new == 1


def test_a_class_without_held_out_pictures_has_no_figure() -> None:
    catalogue = Catalogue.empty().grow(["cat"]).grow(["dog"])
    scores = scores_of(counted([0, 2], [0, 2], 3), catalogue, {"cat": 0.9}, 1)
    assert scores.iou["cat"] is None
    assert scores.forgetting == {}
    assert scores.miou_all == 1


def test_partly_labelled_pictures_say_nothing_of_other_classes() -> None:
    # Pictures labelled for class 2 only: predicting class 1 counts as background there.
    answer = labelled_lookup([2])
    assert answer[np.array([0, 1, 2])].tolist() == [0, 0, 2]


def test_labels_are_masked_by_step() -> None:
    lookup = step_lookup(["cat", "dog", "cow"], {"dog": 4})
    assert lookup[np.array([0, 1, 2, 3, 255])].tolist() == [0, 0, 4, 0, 255]
