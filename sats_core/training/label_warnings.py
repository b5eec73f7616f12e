"""When a figure of the labels is suspect; measured in docs/labels.md. Pure functions."""

from collections.abc import Iterator

from sats_core.label_report import ClassLabels, LabelReport, LabelWarning

FEW = 8
"""Training pictures of a class under which its scores hang on chance."""
NEARLY_ALL = 0.9
"""Share of its pictures from which a class covers nearly everything."""
LEAST_FIT = 0.075
"""`outline_fit` under which labels follow the pictures no better than those of other pictures."""
LOOKED_INTO = 0.25
"""Share of a new class that one old class takes, from which kept pictures are compared."""
SAME_SHARE = 0.75
"""The same share from which it is that old class, whatever else is known."""
SAME = 0.72
"""`told_apart` under which features do not tell the two classes apart."""
MANY_DUPLICATES = 0.1
"""Share of the training pictures from which duplicates are worth a word."""
MANY_SCORED = 0.02
"""Share of the training pictures that are copies of held-out ones, from which scores are suspect:
where a fifth is held out, these are up to 8 % of what scores."""


def warnings_of(report: LabelReport) -> tuple[LabelWarning, ...]:
    """Return what is suspect about a task's labels; the report's own warnings are not read."""
    of_classes = (warning for labels in report.classes for warning in _of_class(labels))
    return (*of_classes, *_of_duplicates(report))


def _of_class(labels: ClassLabels) -> Iterator[LabelWarning]:
    name = labels.class_name
    if labels.pictures < FEW:
        yield LabelWarning(
            fault="few_pictures",
            class_name=name,
            serious=False,
            message=f"only {_counted(labels.pictures)} to train on "
            f"{'show' if labels.pictures > 1 else 'shows'} {name!r}: some tens are the least",
        )
    if labels.share_where_shown >= NEARLY_ALL:
        yield LabelWarning(
            fault="covers_everything",
            class_name=name,
            serious=True,
            message=f"{name!r} covers {labels.share_where_shown:.0%} of the labelled pixels of "
            "the pictures that show it: are they labelled at all?",
        )
    if labels.outline_fit is not None and labels.outline_fit < LEAST_FIT:
        yield LabelWarning(
            fault="outlines",
            class_name=name,
            serious=True,
            message=f"the outlines of {name!r} follow the pictures hardly better than those of "
            f"other pictures would ({labels.outline_fit:.2f}, careful ones have 0.1 to 0.4): "
            "masks of other pictures, or very rough ones?",
        )
    if _known(labels):
        apart = ""
        if labels.told_apart is not None:
            apart = f", and its features are hardly told from that class ({labels.told_apart:.2f})"
        yield LabelWarning(
            fault="known_class",
            class_name=name,
            serious=True,
            message=f"{labels.called_share:.0%} of the pixels labelled {name!r} are "
            f"{labels.called!r} to the version before{apart}: the same class under another name?",
        )


def _known(labels: ClassLabels) -> bool:
    if labels.called_share is None or labels.called_share < LOOKED_INTO:
        return False
    if labels.called_share >= SAME_SHARE:
        return True
    return labels.told_apart is not None and labels.told_apart < SAME


def _of_duplicates(report: LabelReport) -> Iterator[LabelWarning]:
    if report.duplicates >= MANY_DUPLICATES * report.pictures and report.duplicates:
        yield LabelWarning(
            fault="duplicates",
            serious=False,
            message=f"{_counted(report.duplicates)} of {report.pictures} to train on look the "
            "same as another one: they teach nothing new",
        )
    if report.held_out_duplicates >= MANY_SCORED * report.pictures and report.held_out_duplicates:
        yield LabelWarning(
            fault="held_out_duplicates",
            serious=True,
            message=f"{_counted(report.held_out_duplicates)} to train on look the same as a "
            "held-out one, of this task or an earlier one: scores will be too good",
        )


def _counted(pictures: int) -> str:
    return f"{pictures} picture{'s' if pictures > 1 else ''}"
