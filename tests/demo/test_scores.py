import numpy as np
import pytest

from demo import plan
from demo.scores import Comparison, iou_by_class, mean_iou
from demo.service import DemoError

OLD = dict.fromkeys(plan.OLD_CLASSES, 0.8)
GOOD = OLD | {"cup": 0.7}
FORGOTTEN = dict.fromkeys(plan.OLD_CLASSES, 0.1) | {"cup": 0.7}


def _comparison(finetuned, sats, before=OLD):
    return Comparison("here", before, {"finetuned": finetuned, "sats": sats})


def test_iou_is_counted_over_all_pictures():
    truths = [np.array([[0, 1], [1, 1]], np.uint8), np.array([[1, 0]], np.uint8)]
    answers = [np.array([[0, 1], [1, 0]], np.uint8), np.array([[0, 0]], np.uint8)]
    scores = iou_by_class(truths, answers, {0: "background", 1: "fish", 2: "leaf"})
    assert scores == {"background": 2 / 4, "fish": 2 / 4, "leaf": None}


def test_a_class_without_a_score_is_left_out_of_the_mean():
    assert mean_iou({"fish": 0.5, "leaf": None}, ("fish", "leaf", "cup")) == 0.5
    assert mean_iou({}, ("fish",)) is None


def test_claims_that_hold():
    assert _comparison(FORGOTTEN, GOOD).broken_claims() == []


@pytest.mark.parametrize(
    ("finetuned", "sats", "words"),
    [
        (FORGOTTEN, GOOD | {"cup": 0.49}, "IoU of cup is 0.49"),
        (FORGOTTEN, OLD, "IoU of cup is 0.00"),
        (FORGOTTEN, GOOD | dict.fromkeys(plan.OLD_CLASSES, 0.7), "SATS lost 0.100 old mIoU"),
        (GOOD, GOOD, "apart"),
    ],
)
def test_a_claim_that_is_broken_is_said(finetuned, sats, words):
    (sentence,) = _comparison(finetuned, sats).broken_claims()
    assert sentence.startswith("here: ")
    assert words in sentence


def test_scores_without_old_classes_cannot_be_judged():
    with pytest.raises(DemoError, match="no old class has a score"):
        _comparison(GOOD, GOOD, before={}).broken_claims()
