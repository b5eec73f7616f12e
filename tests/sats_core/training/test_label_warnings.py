"""Where the limits lie; what is measured is in `test_labels`."""

import pytest

from sats_core.label_report import ClassLabels, LabelReport
from sats_core.training.label_warnings import warnings_of

GOOD = ClassLabels(
    class_name="kitten",
    pictures=40,
    share=0.1,
    share_where_shown=0.2,
    outline_fit=0.2,
    called="cat",
    called_share=0.5,
    told_apart=0.9,
)


def faults(**changes: object) -> list[str]:
    report = LabelReport(
        pictures=40,
        classes=(GOOD.model_copy(update=changes),),
        duplicates=0,
        held_out_duplicates=0,
        warnings=(),
    )
    return [warning.fault for warning in warnings_of(report)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"outline_fit": None, "called": None, "called_share": None, "told_apart": None}, []),
        ({"pictures": 1}, ["few_pictures"]),
        ({"share_where_shown": 0.95}, ["covers_everything"]),
        ({"outline_fit": 0.02}, ["outlines"]),
        ({"called_share": 0.83}, ["known_class"]),
        ({"told_apart": 0.55}, ["known_class"]),
        ({"told_apart": None}, []),
        ({"called_share": 0.1, "told_apart": 0.5}, []),
    ],
)
def test_what_is_suspect(changes, expected):
    assert faults(**changes) == expected


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((9, 0), []),
        ((10, 0), ["duplicates"]),
        ((0, 1), []),
        ((0, 2), ["held_out_duplicates"]),
    ],
)
def test_copies(counts, expected):
    duplicates, held_out = counts
    report = LabelReport(
        pictures=100,
        classes=(GOOD,),
        duplicates=duplicates,
        held_out_duplicates=held_out,
        warnings=(),
    )
    assert [warning.fault for warning in warnings_of(report)] == expected
