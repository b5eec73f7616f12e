import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.registry.gate import AWAITS_APPROVAL, UNGUARDED, GateSettings, judge
from sats_core.evaluation.scores import Scores


def scores(iou: dict[str, float | None]) -> Scores:
    return Scores(
        iou={"background": 0.9, **iou},
        introduced=dict(iou),
        forgetting={},
        miou_old=None,
        miou_new=None,
        miou_all=None,
        mean_forgetting=None,
        pixel_accuracy=None,
        pictures=1,
    )


def test_base_step_needs_every_new_class():
    verdict = judge(GateSettings(), scores({"cat": 0.5, "dog": 0.1}), None, ["cat", "dog"], False)
    assert not verdict.passed
    assert verdict.reasons == ("new class 'dog' reached 0.100 IoU, less than 0.3",)
    assert [(f.class_name, f.kind, f.after, f.passed) for f in verdict.figures] == [
        ("cat", "new", 0.5, True),
        ("dog", "new", 0.1, False),
    ]


def test_a_new_class_of_exactly_the_limit_passes():
    assert judge(GateSettings(min_iou=0.3), scores({"cat": 0.3}), None, ["cat"], False).passed


def test_old_class_is_held_against_the_parent_not_against_its_first_score():
    after = scores({"cat": 0.45, "dog": 0.6})
    parent = scores({"cat": 0.5})
    assert judge(GateSettings(), after, parent, ["dog"], False).passed
    verdict = judge(GateSettings(max_drop=0.04), after, parent, ["dog"], False)
    assert verdict.reasons == ("old class 'cat' lost 0.050 IoU (0.500 to 0.450), more than 0.04",)
    assert not verdict.passed


@pytest.mark.parametrize(("before", "after"), [(0.9, 0.85), (0.5, 0.45), (0.35, 0.3)])
def test_a_drop_of_exactly_the_limit_passes(before, after):
    verdict = judge(
        GateSettings(), scores({"cat": after, "dog": 1.0}), scores({"cat": before}), ["dog"], False
    )
    assert verdict.passed


@pytest.mark.parametrize(("before", "after"), [(None, 0.5), (0.5, None)])
def test_an_unmeasured_old_class_is_said_but_does_not_hold(before, after):
    verdict = judge(
        GateSettings(), scores({"cat": after, "dog": 0.6}), scores({"cat": before}), ["dog"], False
    )
    assert verdict.passed
    assert verdict.reasons == ("old class 'cat' is not measured: no held-out picture shows it",)
    assert (verdict.figures[0].before, verdict.figures[0].after) == (before, after)


@pytest.mark.parametrize(("before", "after"), [(None, 0.5), (0.5, None)])
def test_an_unmeasured_old_class_holds_where_the_limits_say_so(before, after):
    gate = GateSettings(hold_on_unmeasured=True)
    now, then = {"cat": after, "cow": 0.7, "dog": 0.6}, {"cat": before, "cow": 0.7}
    verdict = judge(gate, with_background(now, 0.9), scores(then), ["dog"], False)
    assert not verdict.passed
    assert verdict.reasons == ("old class 'cat' is not measured: no held-out picture shows it",)
    passed = {figure.class_name: figure.passed for figure in verdict.figures}
    assert (passed["cat"], passed["cow"], passed["dog"]) == (False, True, True)
    whole = with_background(now | {"cat": 0.5}, 0.9)
    assert judge(gate, whole, scores(then | {"cat": 0.5}), ["dog"], False).passed


def test_where_nothing_was_measured_before_that_is_said_once_and_figures_say_what_holds():
    gate = GateSettings(hold_on_unmeasured=True)
    now = scores({"cat": 0.5, "cow": 0.5, "dog": 0.6})
    then = scores({}).model_copy(update={"iou": {"background": None, "cat": None, "cow": None}})
    verdict = judge(gate, now, then, ["dog"], False)
    assert not verdict.passed
    assert verdict.reasons == (UNGUARDED,)
    held = [figure.class_name for figure in verdict.figures if not figure.passed]
    assert held == ["background", "cat", "cow"]
    free = judge(GateSettings(), now, then, ["dog"], False)
    assert (free.passed, free.reasons) == (True, (UNGUARDED,))


def test_an_unmeasured_new_class_holds():
    verdict = judge(GateSettings(min_iou=0), scores({"cat": None}), None, ["cat"], False)
    assert not verdict.passed
    assert verdict.reasons == ("new class 'cat' is not measured: no held-out picture shows it",)


def test_a_live_version_that_moved_holds():
    verdict = judge(GateSettings(), scores({"cat": 1.0}), None, ["cat"], True)
    assert not verdict.passed
    assert verdict.reasons == ("the live version changed while the step ran",)


def test_asked_not_to_go_live():
    verdict = judge(GateSettings(promote=False), scores({"cat": 1.0}), None, ["cat"], False)
    assert not verdict.passed
    assert verdict.reasons == ("the task asked not to go live",)


def test_warnings_hold_only_where_the_gate_says_so():
    given = (scores({"cat": 1.0}), None, ["cat"], False)
    holding = GateSettings(hold_on_warnings=True)
    held = judge(holding, *given, warnings=["few pictures", "many twins"])
    assert (held.passed, held.reasons) == (False, ("few pictures", "many twins"))
    assert judge(holding, *given).passed
    free = judge(GateSettings(), *given, warnings=["few pictures"])
    assert (free.passed, free.reasons) == (True, ())


def test_whatever_else_holds_a_version_is_said_first():
    gate = GateSettings(promote=False, hold_on_warnings=True, approval="required")
    verdict = judge(
        gate,
        scores({"cat": 0.1}),
        None,
        ["cat"],
        True,
        ["dog"],
        warnings=["few pictures"],
        holds_too=["a retired class comes back"],
    )
    assert not verdict.passed
    assert verdict.reasons == (
        "a retired class comes back",
        "the live version changed while the step ran",
        "the live version knows 'dog' and this one does not",
        "few pictures",
        "the task asked not to go live",
        "new class 'cat' reached 0.100 IoU, less than 0.3",
    )
    assert verdict.settings == gate
    alone = judge(GateSettings(), scores({"cat": 1.0}), None, ["cat"], False, holds_too=["so"])
    assert (alone.passed, alone.reasons) == (False, ("so",))


def test_where_an_admin_has_the_last_word_a_version_that_passed_waits_for_it():
    gate = GateSettings(approval="required")
    passed = judge(gate, scores({"cat": 1.0}), None, ["cat"], False)
    assert passed.passed is False
    assert passed.reasons == (AWAITS_APPROVAL,)
    held = judge(gate, scores({"cat": 0.1}), None, ["cat"], False)
    assert held.reasons == ("new class 'cat' reached 0.100 IoU, less than 0.3",)


def test_what_an_admin_waived_is_kept_with_the_verdict():
    verdict = judge(GateSettings(), scores({"cat": 1.0}), None, ["cat"], False, waived=["laxer"])
    assert verdict.waived == ("laxer",)


def with_background(iou: dict[str, float | None], earlier: float | None) -> Scores:
    return scores(iou).model_copy(update={"earlier_background": earlier})


def test_the_background_is_an_old_class():
    parent = scores({"cat": 0.5})
    after = with_background({"cat": 0.5, "dog": 0.5}, 0.8)
    verdict = judge(GateSettings(), after, parent, ["dog"], False)
    assert not verdict.passed
    assert verdict.reasons == (
        "the background lost 0.100 IoU on the pictures of earlier tasks (0.900 to 0.800), more "
        "than 0.05: old classes run into it, or it into them",
    )
    first = verdict.figures[0]
    assert (first.class_name, first.kind, first.before) == ("background", "old", 0.9)
    assert (first.after, first.passed) == (0.8, False)
    assert judge(GateSettings(max_drop=0.2), after, parent, ["dog"], False).passed


@pytest.mark.parametrize(("after", "passed"), [(0.85, True), (0.849, False), (1.0, True)])
def test_the_background_may_lose_exactly_the_limit(after, passed):
    verdict = judge(
        GateSettings(),
        with_background({"cat": 0.5, "dog": 0.5}, after),
        scores({"cat": 0.5}),
        ["dog"],
        False,
    )
    assert verdict.passed == passed


def test_a_background_that_nobody_can_compare_is_no_figure():
    """In a base step, behind an unscored import, or without pictures of earlier tasks."""
    after = with_background({"cat": 0.5, "dog": 0.5}, 0.1)
    assert judge(GateSettings(), after, None, ["cat", "dog"], False).passed
    unscored = scores({}).model_copy(update={"iou": {"background": None, "cat": None}})
    assert judge(GateSettings(), after, unscored, ["dog"], False).reasons == (UNGUARDED,)
    kept_none = with_background({"cat": None, "dog": 0.5}, None)
    figures = judge(GateSettings(), kept_none, scores({"cat": 0.5}), ["dog"], False).figures
    assert [figure.class_name for figure in figures] == ["cat", "dog"]


@pytest.mark.parametrize(("before", "after"), [(None, 0.9), (0.9, None)])
def test_an_unmeasured_background_holds_where_the_limits_say_so(before, after):
    gate = GateSettings(hold_on_unmeasured=True)
    now, cat = with_background({"cat": 0.5, "dog": 0.5}, after), scores({"cat": 0.5})
    then = cat.model_copy(update={"iou": cat.iou | {"background": before}})
    verdict = judge(gate, now, then, ["dog"], False)
    assert not verdict.passed
    assert verdict.reasons == (
        "the background is not measured: no held-out picture of earlier tasks shows it",
    )
    first = verdict.figures[0]
    assert (first.class_name, first.before, first.after) == ("background", before, after)
    assert judge(GateSettings(), now, then, ["dog"], False).reasons == ()
    assert judge(gate, now, None, ["cat", "dog"], False).passed, "a base step has no old class"


def test_nothing_much_worse_at_the_new_classes_replaces_a_live_preview():
    parent = scores({"cat": 0.8})
    preview = scores({"cat": 0.8, "dog": 0.7, "cow": 0.5})
    worse = scores({"cat": 0.8, "dog": 0.6, "cow": 0.4})
    new = ["dog", "cow"]
    verdict = judge(GateSettings(), worse, parent, new, False, preview=preview)
    assert not verdict.passed
    assert verdict.reasons == (
        "its preview is live and better: the new classes' mIoU is 0.600 there and 0.500 here, "
        "lower by more than 0.05",
    )
    assert judge(GateSettings(max_drop=0.1), worse, parent, new, False, preview=preview).passed
    assert judge(GateSettings(), preview, parent, new, False, preview=worse).passed
    one_each = scores({"cat": 0.8, "dog": 0.7, "cow": 0.4})
    assert judge(GateSettings(), one_each, parent, new, False, preview=preview).passed, "the mean"


def test_a_class_that_was_not_measured_says_nothing_against_a_preview():
    preview = scores({"dog": 0.9, "cow": None})
    after = scores({"dog": 0.9, "cow": None})
    reasons = judge(GateSettings(), after, None, ["dog", "cow"], False, preview=preview).reasons
    assert reasons == ("new class 'cow' is not measured: no held-out picture shows it",)
    unscored = scores({"dog": None, "cow": None})
    assert judge(GateSettings(), after, None, ["dog", "cow"], False, preview=unscored).reasons == (
        reasons
    )


@pytest.mark.parametrize("wrong", [{"max_drop": -0.1}, {"min_iou": 1.5}, {"max_dorp": 0.1}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        GateSettings.model_validate(wrong)


share = st.floats(0, 1)


@given(before=share, after=share, new=share, max_drop=share, min_iou=share)
def test_a_held_version_says_why_and_better_scores_never_hold(
    before, after, new, max_drop, min_iou
):
    gate = GateSettings(max_drop=max_drop, min_iou=min_iou)
    verdict = judge(
        gate, scores({"cat": after, "dog": new}), scores({"cat": before}), ["dog"], False
    )
    assert verdict.passed == (not verdict.reasons)
    better = judge(gate, scores({"cat": 1.0, "dog": 1.0}), scores({"cat": before}), ["dog"], False)
    assert better.passed


def test_a_parent_that_was_never_scored_guards_nothing_and_that_is_said():
    parent = scores({"cat": None, "dog": None}).model_copy(
        update={"iou": {"background": None, "cat": None, "dog": None}}
    )
    after = scores({"cat": None, "dog": None, "cow": 0.5})
    verdict = judge(GateSettings(), after, parent, ["cow"], False)
    assert verdict.passed
    assert verdict.reasons == (UNGUARDED,)
    assert [(f.class_name, f.kind, f.before) for f in verdict.figures] == [
        ("cat", "old", None),
        ("dog", "old", None),
        ("cow", "new", None),
    ]
    missed = judge(GateSettings(min_iou=0.6), after, parent, ["cow"], False)
    assert missed.reasons == (UNGUARDED, "new class 'cow' reached 0.500 IoU, less than 0.6")


def test_an_old_class_counts_though_nothing_says_what_it_had_when_it_came():
    after = scores({"cat": 0.3, "dog": 0.6}).model_copy(update={"introduced": {"dog": 0.6}})
    verdict = judge(GateSettings(), after, scores({"cat": 0.5}), ["dog"], False)
    assert not verdict.passed
    assert [f.class_name for f in verdict.figures] == ["cat", "dog"]


def test_a_class_that_only_the_live_version_knows_holds():
    parent, after = scores({"cat": 0.8}), scores({"cat": 0.8, "cow": 0.8})
    live = ["background", "cat", "dog", "sheep"]
    verdict = judge(GateSettings(), after, parent, ["cow"], False, live)
    assert not verdict.passed
    assert verdict.reasons == ("the live version knows 'dog', 'sheep' and this one does not",)
    assert judge(GateSettings(), after, parent, ["cow"], False, ["background", "cat"]).passed


def test_a_class_that_the_live_version_has_is_an_old_one_whatever_the_step_started_from():
    parent, live = scores({"cat": 0.8}), scores({"cat": 0.8, "dog": 0.8})
    worse = judge(
        GateSettings(), scores({"cat": 0.8, "dog": 0.31}), parent, ["dog"], False, live=live
    )
    assert not worse.passed
    assert worse.reasons == (
        "old class 'dog' lost 0.490 IoU against the live version (0.800 to 0.310), more than 0.05",
    )
    dog = worse.figures[-1]
    assert (dog.kind, dog.before, dog.after) == ("old", 0.8, 0.31)
    assert judge(
        GateSettings(), scores({"cat": 0.8, "dog": 0.76}), parent, ["dog"], False, live=live
    ).passed


@pytest.mark.parametrize(("parent", "live", "bar"), [(0.6, 0.8, 0.8), (0.8, 0.6, 0.8)])
def test_of_parent_and_live_the_better_one_is_the_bar(parent, live, bar):
    verdict = judge(
        GateSettings(),
        scores({"cat": 0.65, "cow": 0.5}),
        scores({"cat": parent}),
        ["cow"],
        False,
        live=scores({"cat": live}),
    )
    assert not verdict.passed
    assert verdict.figures[0].before == bar


def test_the_live_version_is_named_only_where_it_is_better_than_the_parent():
    parent = live = scores({"cat": 0.8})
    after = scores({"cat": 0.7, "cow": 0.5})
    verdict = judge(GateSettings(), after, parent, ["cow"], False, live=live)
    assert verdict.reasons == ("old class 'cat' lost 0.100 IoU (0.800 to 0.700), more than 0.05",)


def test_a_class_that_was_not_measured_in_the_live_version_is_new():
    live = scores({"cat": None, "dog": None})
    after = scores({"cat": 0.8, "dog": 0.1})
    verdict = judge(GateSettings(), after, scores({"cat": 0.8}), ["dog"], False, live=live)
    assert verdict.reasons == ("new class 'dog' reached 0.100 IoU, less than 0.3",)
