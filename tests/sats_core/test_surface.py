"""The names that others stand on; taking one away or renaming it breaks them."""

import inspect

from sats_core import events, job, losses, methods, models


def test_losses() -> None:
    assert sorted(losses.__all__) == [
        "PseudoLabels",
        "QueryKey",
        "attention_transfer",
        "distillation",
        "entropy_pseudo_labels",
        "local_pod",
        "median_thresholds",
        "pod_distance",
        "released_thresholds",
        "truthful_cross_entropy",
        "unbiased_cross_entropy",
        "unbiased_distillation",
        "with_background_summed",
        "with_truth",
        "without_truth",
    ]


def parameters(function: object) -> list[str]:
    assert callable(function)
    return [str(p).split(":")[0] for p in inspect.signature(function).parameters.values()]


def test_signatures_of_the_losses() -> None:
    assert parameters(losses.attention_transfer) == ["old", "new", "labels", "ignore_index"]
    default = inspect.signature(losses.attention_transfer).parameters["ignore_index"].default
    assert default == 255
    assert parameters(losses.unbiased_cross_entropy) == ["logits", "labels", "old_classes"]
    assert parameters(losses.unbiased_distillation) == ["logits", "old_logits"]
    names = ["labels", "old_logits", "thresholds", "classes"]
    assert parameters(losses.entropy_pseudo_labels) == names
    assert losses.QueryKey._fields == ("query", "key", "scale", "grid")
    assert losses.PseudoLabels._fields == ("labels", "valid", "kept_share")


def test_methods_and_models() -> None:
    assert sorted(methods.METHODS) == [
        "finetune",
        "frozen",
        "ilt",
        "joint",
        "lwf",
        "mib",
        "plop",
        "sats",
        "sats_plus",
    ]
    assert set(models.__all__) == {
        "SCRATCH",
        "Backbone",
        "GrowingClassifier",
        "Output",
        "Segmenter",
        "balanced_start",
        "load_pretrained",
        "seeded_backbone",
        "start_backbone",
    }


def test_records_between_worker_and_child() -> None:
    assert set(job.StepJob.model_fields) == {
        "kind",
        "dataset",
        "old_version",
        "new_classes",
        "indices",
        "settings",
        "held_out",
        "earlier",
        "memory",
        "limits",
        "halvings",
        "backbone_dir",
        "threads",
        "work",
        "result",
    }
    assert {"phase", "progress", "warning", "labels", "failed", "done"} == {
        kind.model_fields["event"].default
        for kind in (
            events.PhaseEvent,
            events.ProgressEvent,
            events.WarningEvent,
            events.LabelsEvent,
            events.FailedEvent,
            events.DoneEvent,
        )
    }
