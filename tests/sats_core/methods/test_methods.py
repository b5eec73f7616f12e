import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.method_settings import METHOD_SETTINGS
from sats_core.methods import METHODS, BaseStep, Finetune, Joint, Method, Plop, Sats, make_method
from sats_core.methods.pseudo_labelling import PseudoLabelling
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import StepSettings
from tests.fixtures.backbones import TINY
from tests.sats_core.methods.trainers import AskedToStopError, BatchTrainer

OLD, NEW = 3, 2


@pytest.fixture(scope="module")
def before() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(seeded_backbone(TINY, 0), [OLD]).eval()


@pytest.fixture
def models(before: Segmenter) -> tuple[Segmenter, Segmenter]:
    """The model to train, grown, and the one before it."""
    old, new = copy.deepcopy(before), copy.deepcopy(before)
    new.classifier.grow(NEW)
    return new.eval(), old


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    make = torch.Generator().manual_seed(1)
    labels = torch.zeros(2, 64, 64, dtype=torch.long)
    labels[:, 16:48, 16:40] = OLD
    labels[1, :8] = 255
    return torch.randn(2, 3, 64, 64, generator=make), labels


def test_every_method_has_settings_and_the_names_agree() -> None:
    assert set(METHODS) == set(METHOD_SETTINGS)


def three(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Pictures enough for unequal parts."""
    pictures, labels = batch
    more = torch.cat([pictures, pictures[:1].flip(-1) / 2]), torch.cat([labels, labels[1:].mT])
    return more[0], more[1].contiguous()


DESCENDING = sorted(name for name, kind in METHODS.items() if issubclass(kind, Finetune))


def descending(settings: StepSettings, models: tuple[Segmenter, Segmenter]) -> Finetune:
    """Make a method that gives loss terms."""
    method = make_method(settings, *models)
    assert isinstance(method, Finetune)
    return method


class TestEveryMethod:
    """What a step stands on, however the method learns."""

    @pytest.fixture(params=sorted(METHODS))
    def method(self, request: pytest.FixtureRequest, models: tuple[Segmenter, Segmenter]) -> Method:
        return make_method(StepSettings(method=request.param), *models)

    def test_learns_and_leaves_batch_and_old_model_as_they_are(
        self, method: Method, models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
    ) -> None:
        model, old = models
        before = {name: t.clone() for name, t in old.state_dict().items()}
        rows = model.classifier.steps[1].weight.clone()
        pictures, labels = batch[0].clone(), batch[1].clone()
        trainer = BatchTrainer([batch])
        method.learn(trainer)
        assert torch.equal(batch[0], pictures)
        assert torch.equal(batch[1], labels)
        assert all(torch.equal(t, before[name]) for name, t in old.state_dict().items())
        assert all(t.isfinite().all() for t in model.state_dict().values())
        assert not torch.equal(model.classifier.steps[1].weight, rows)
        assert "cross_entropy" in trainer.told
        assert all(math.isfinite(value) for value in trainer.told.values())

    def test_learns_nothing_where_everything_is_ignored(
        self, method: Method, models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
    ) -> None:
        method.learn(BatchTrainer([(batch[0], torch.full_like(batch[1], 255))]))
        assert all(t.isfinite().all() for t in models[0].state_dict().values())

    def test_ends_where_somebody_asks_to_stop(
        self, method: Method, batch: tuple[Tensor, Tensor]
    ) -> None:
        with pytest.raises(AskedToStopError):
            method.learn(BatchTrainer([batch], stop=True))

    def test_a_base_step_is_plain_training(
        self, method: Method, models: tuple[Segmenter, Segmenter]
    ) -> None:
        name = next(n for n, kind in METHODS.items() if type(method) is kind)
        base = make_method(StepSettings(method=name), models[0], None)
        assert type(base) is (Joint if name == "joint" else BaseStep)


class TestEveryMethodThatDescends:
    """What the training loop stands on, for every method that gives it loss terms."""

    @pytest.fixture(params=DESCENDING)
    def method(
        self, request: pytest.FixtureRequest, models: tuple[Segmenter, Segmenter]
    ) -> Finetune:
        return descending(StepSettings(method=request.param), models)

    def test_terms_are_finite_scalars_with_a_gradient(
        self, method: Finetune, batch: tuple[Tensor, Tensor]
    ) -> None:
        method.prepare([batch])
        terms = method.loss_terms(*batch)
        assert "cross_entropy" in terms
        for term in terms.values():
            assert term.shape == ()
            assert term.isfinite()
        torch.stack(list(terms.values())).sum().backward()
        grads = [p.grad for p in method.model.parameters() if p.grad is not None]
        assert grads
        assert all(grad.isfinite().all() for grad in grads)

    def test_terms_of_a_batch_are_the_means_of_its_parts(
        self, method: Finetune, batch: tuple[Tensor, Tensor]
    ) -> None:
        method.prepare([batch])
        batch = three(batch)
        whole = method.loss_terms(*batch)
        parts = [method.loss_terms(*(t[part] for t in batch)) for part in (slice(1), slice(1, 3))]
        for name, term in whole.items():
            mean = (parts[0][name] + 2 * parts[1][name]) / 3
            torch.testing.assert_close(mean, term, rtol=1e-5, atol=1e-6, msg=name)
        assert any(abs(p[name] - term) > 1e-4 for name, term in whole.items() for p in parts)

    def test_shares_of_the_pictures_prepare_it_as_all_of_them_do(
        self, method: Finetune, batch: tuple[Tensor, Tensor]
    ) -> None:
        shares = [[tuple(t[part] for t in three(batch))] for part in (slice(1), slice(1, 3))]
        counted: list[list[Tensor]] = []
        for share in shares:
            counted.append([])

            def count(tensor: Tensor) -> Tensor:
                counted[-1].append(tensor.clone())
                return tensor

            copy.deepcopy(method).prepare(share, count)
        totals = map(sum, zip(*counted, strict=True))
        first, whole = copy.deepcopy(method), copy.deepcopy(method)
        first.prepare(shares[0], lambda _own: next(totals))
        whole.prepare([*shares[0], *shares[1]])
        learned = whole.model.state_dict()
        for name, tensor in first.model.state_dict().items():
            torch.testing.assert_close(tensor, learned[name], rtol=0, atol=1e-6, msg=name)
        for known in (first, whole):
            if isinstance(known, PseudoLabelling):
                assert torch.equal(known.thresholds, whole.thresholds)

    def test_changes_neither_batch_nor_models(
        self, method: Finetune, models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
    ) -> None:
        model, old = method.model.state_dict(), copy.deepcopy(method.old)
        before = {name: t.clone() for name, t in model.items()}
        pictures, labels = batch[0].clone(), batch[1].clone()
        method.prepare([batch])
        changed = {name for name, t in model.items() if not torch.equal(t, before[name])}
        started = {"steps.1.weight", "steps.1.bias", "steps.0.bias"}
        assert changed <= {f"classifier.{name}" for name in started}
        first = models[0].classifier.steps[0].bias
        assert torch.equal(first[1:], before["classifier.steps.0.bias"][1:])
        weights = {name: t.clone() for name, t in model.items()}
        method.loss_terms(*batch)
        assert torch.equal(batch[0], pictures)
        assert torch.equal(batch[1], labels)
        assert all(torch.equal(t, weights[name]) for name, t in model.items())
        assert old is not None
        assert method.old is not None
        kept = method.old.state_dict()
        assert all(torch.equal(t, kept[name]) for name, t in old.state_dict().items())

    def test_the_old_model_gets_no_gradient(
        self, method: Finetune, batch: tuple[Tensor, Tensor]
    ) -> None:
        method.prepare([batch])
        torch.stack(list(method.loss_terms(*batch).values())).sum().backward()
        assert method.old is not None
        assert all(p.grad is None for p in method.old.parameters())

    def test_an_empty_batch_of_labels_is_no_crash(
        self, method: Finetune, batch: tuple[Tensor, Tensor]
    ) -> None:
        nothing = torch.full_like(batch[1], 255)
        method.prepare([(batch[0], nothing)])
        for term in method.loss_terms(batch[0], nothing).values():
            assert term.isfinite()

    def test_an_old_class_that_a_replayed_picture_is_labelled_with_is_truth(
        self, method: Finetune, models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
    ) -> None:
        pictures, labels = batch
        replayed = torch.where(labels == 0, 1, labels)
        method.prepare([batch])

        def cost(favoured: int) -> float:
            model = copy.deepcopy(models[0])
            with torch.no_grad():
                model.classifier.steps[0].bias[favoured] += 5
            method.model = model
            return method.loss_terms(pictures, replayed)["cross_entropy"].item()

        assert cost(favoured=1) < cost(favoured=0)
        assert cost(favoured=1) < cost(favoured=2)


TERMS = {
    "finetune": {"cross_entropy"},
    "joint": {"cross_entropy"},
    "kfac": {"cross_entropy", "curvature"},
    "residual": {"cross_entropy"},
    "lwf": {"cross_entropy", "distillation"},
    "ilt": {"cross_entropy", "distillation", "features"},
    "mib": {"cross_entropy", "distillation"},
    "plop": {"cross_entropy", "pod"},
    "sats": {"cross_entropy", "distillation", "attention_transfer"},
    "sats_plus": {"cross_entropy", "distillation", "attention_transfer"},
}


@pytest.mark.parametrize("name", DESCENDING)
def test_terms_by_name(
    name: str, models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
) -> None:
    method = descending(StepSettings(method=name), models)
    assert set(method.loss_terms(*batch)) == TERMS[name]


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"finetune", "joint"}))
def test_methods_that_stand_on_the_old_model_need_one(
    name: str, models: tuple[Segmenter, Segmenter]
) -> None:
    with pytest.raises(ValueError, match="needs the model before"):
        METHODS[name](models[0], None, StepSettings(method=name).for_method())


@pytest.mark.parametrize(
    ("name", "weight", "term"),
    [
        ("lwf", 100, "distillation"),
        ("ilt", 10, "distillation"),
        ("ilt", 10, "features"),
        ("mib", 40, "distillation"),
        ("sats", 20, "distillation"),
        ("sats", 20, "attention_transfer"),
    ],
)
def test_published_weights(
    name: str,
    weight: float,
    term: str,
    models: tuple[Segmenter, Segmenter],
    batch: tuple[Tensor, Tensor],
) -> None:
    setting = {"distillation": "distillation_weight", "features": "feature_weight"}.get(
        term, "attention_weight"
    )
    with torch.no_grad():
        models[0].backbone.net.stages[0].blocks[-1].attn.q.weight.mul_(4)
    published = descending(StepSettings(method=name), models)
    single = descending(StepSettings(method=name, method_settings={setting: 1}), models)
    ratio = published.loss_terms(*batch)[term] / single.loss_terms(*batch)[term]
    assert ratio.item() == pytest.approx(weight, rel=1e-4)


def test_ilt_compares_what_dropout_does_not_touch(
    models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
) -> None:
    method = descending(StepSettings(method="ilt"), models)
    models[0].train_step(updates_norms=False)
    assert method.loss_terms(*batch)["features"].item() == pytest.approx(0, abs=1e-9)


class TestUnsure:
    """What a pixel teaches where the old model is unsure, sats and plop alike."""

    def pull(
        self, name: str, unsure: str, models: tuple[Segmenter, Segmenter], batch: object
    ) -> Tensor:
        """Return the gradient of each unsure background pixel on the logits (C,)."""
        method = descending(StepSettings(method=name, method_settings={"unsure": unsure}), models)
        assert isinstance(method, PseudoLabelling)
        method.thresholds = torch.zeros(OLD)  # unsure everywhere
        logits = torch.randn(1, OLD + NEW, 4, 4).requires_grad_()
        supervision = method.supervise(torch.zeros(1, 4, 4, dtype=torch.long), logits[:, :OLD])
        method.cross_entropy(logits, supervision).sum().backward()
        assert logits.grad is not None
        return logits.grad

    @pytest.mark.parametrize("name", ["plop", "sats"])
    def test_ignored_or_held_against_the_newest_classes(
        self, name: str, models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
    ) -> None:
        assert not self.pull(name, "ignored", models, batch).any()
        gradient = self.pull(name, "unbiased", models, batch)
        assert (gradient[:, OLD:] > 0).all()  # descent lowers the new classes' logits
        assert (gradient[:, :OLD].sum(1) < 0).all()

    def test_no_method_takes_a_choice_that_it_does_not_read(self) -> None:
        able = {name for name, of in METHOD_SETTINGS.items() if "unsure" in of.model_fields}
        assert able == {"plop", "sats"}
        with pytest.raises(ValueError, match="unsure"):
            StepSettings(method="sats_plus", method_settings={"unsure": "unbiased"})

    @pytest.mark.parametrize("unsure", ["ignored", "unbiased"])
    def test_a_new_class_is_taught_either_way(
        self, unsure: str, models: tuple[Segmenter, Segmenter]
    ) -> None:
        method = make_method(
            StepSettings(method="sats", method_settings={"unsure": unsure}), *models
        )
        assert isinstance(method, PseudoLabelling)
        logits = torch.zeros(1, OLD + NEW, 1, 1).requires_grad_()
        labels = torch.full((1, 1, 1), OLD)
        method.cross_entropy(logits, method.supervise(labels, logits[:, :OLD])).sum().backward()
        assert logits.grad is not None
        assert logits.grad[0, OLD] == pytest.approx(1 / (OLD + NEW) - 1)


def test_sats_plus_starts_new_rows_from_what_the_old_model_sees_there(
    models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
) -> None:
    model, old = models
    pictures, labels = batch
    descending(StepSettings(method="sats_plus"), models).prepare([batch, batch])
    with torch.no_grad():
        logits = F.interpolate(old(pictures), size=(64, 64), mode="bilinear")
        seen = logits.softmax(1).movedim(1, -1)[labels == OLD].mean(0)
    before, rows = old.classifier.steps[0], model.classifier.steps[1]
    expected = (seen @ before.weight[:, :, 0, 0]).detach()
    torch.testing.assert_close(rows.weight[0, :, 0, 0].detach(), expected, atol=1e-5, rtol=1e-4)
    lowered = (seen @ before.bias).detach() - math.log(NEW)
    torch.testing.assert_close(rows.bias[0].detach(), lowered)
    # The second new class has no pixel: its row keeps the balanced start.
    torch.testing.assert_close(rows.weight[1], before.weight[0])


class TestPlop:
    def test_pod_is_zero_for_stages_that_did_not_move(
        self, models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
    ) -> None:
        settings = StepSettings(method="plop", method_settings={"pod_logits_weight": 0})
        assert descending(settings, models).loss_terms(*batch)["pod"].item() < 1e-7

    def test_pod_holds_the_decoder_too(
        self, models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
    ) -> None:
        settings = StepSettings(method="plop", method_settings={"pod_logits_weight": 0})
        with torch.no_grad():
            models[0].head.mix.weight.mul_(1.5)
        assert descending(settings, models).loss_terms(*batch)["pod"].item() > 1e-4

    def test_what_is_labelled_with_an_old_class_has_no_share_in_a_pictures_weight(
        self, models: tuple[Segmenter, Segmenter]
    ) -> None:
        method = descending(StepSettings(method="plop"), models)
        assert isinstance(method, Plop)
        labels = torch.full((2, 1, 8), 255)
        labels[:, :, :4] = 1  # both are replayed, and the old model is unsure of it
        labels[1, :, 4:] = 0
        logits = torch.zeros(2, OLD, 1, 8)
        logits[:, 1, :, 6:] = 30
        supervision = method.supervise(labels, logits)
        assert supervision.kept_share.tolist() == [1, 0.5]
        assert supervision.pseudo[0].tolist() == labels[0].tolist()
        assert supervision.pseudo[1].tolist() == [[1, 1, 1, 1, 255, 255, 1, 1]]

    def test_pictures_whose_background_is_not_believed_weigh_nothing(
        self, models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
    ) -> None:
        method = descending(StepSettings(method="plop"), models)
        assert isinstance(method, Plop)
        method.thresholds = torch.zeros(OLD)
        assert method.loss_terms(*batch)["cross_entropy"].item() == 0


def test_finetune_is_cross_entropy(
    models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
) -> None:
    method = descending(StepSettings(method="finetune"), models)
    terms = method.loss_terms(*batch)
    assert set(terms) == {"cross_entropy"}
    logits = F.interpolate(models[0](batch[0]), size=(64, 64), mode="bilinear")
    labelled = (batch[1] != 255).float().mean()
    expected = F.cross_entropy(logits, batch[1], ignore_index=255) * labelled
    torch.testing.assert_close(terms["cross_entropy"], expected)


class TestSats:
    def test_the_unchanged_model_is_held_by_nothing(
        self, models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
    ) -> None:
        method = descending(StepSettings(method="sats"), models)
        method.prepare([batch])
        terms = method.loss_terms(*batch)
        assert set(terms) == {"cross_entropy", "distillation", "attention_transfer"}
        assert terms["attention_transfer"].item() == pytest.approx(0, abs=1e-5)
        # With the balanced start the grown model says what the old one said: the distillation is
        # at its least, the old model's own entropy.
        with torch.no_grad():
            old = F.interpolate(models[1](batch[0]), size=(64, 64), mode="bilinear")
            entropy = -(old.softmax(1) * old.log_softmax(1)).sum(1).mean() / OLD
        assert terms["distillation"].item() == pytest.approx(20 * entropy.item(), rel=1e-4)

    def test_moving_the_attention_is_felt(
        self, models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
    ) -> None:
        method = descending(StepSettings(method="sats"), models)
        method.prepare([batch])
        with torch.no_grad():
            for name, weight in models[0].named_parameters():
                if "attn.q.weight" in name:
                    weight.mul_(4)
        assert method.loss_terms(*batch)["attention_transfer"].item() > 1e-3

    def test_weights_scale_their_terms(
        self, models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
    ) -> None:
        def terms(**weights: float) -> dict[str, Tensor]:
            method = descending(StepSettings(method="sats", method_settings=weights), models)
            return dict(method.loss_terms(*batch))

        with torch.no_grad():
            models[0].backbone.net.stages[0].blocks[-1].attn.q.weight.mul_(4)
        full, half = terms(), terms(distillation_weight=10, attention_weight=5)
        assert half["distillation"].item() == pytest.approx(full["distillation"].item() / 2)
        assert half["attention_transfer"].item() == pytest.approx(
            full["attention_transfer"].item() / 4
        )

    def test_prepare_takes_thresholds_from_all_batches(
        self, models: tuple[Segmenter, Segmenter], batch: tuple[Tensor, Tensor]
    ) -> None:
        method = descending(StepSettings(method="sats"), models)
        assert isinstance(method, Sats)

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            yield batch
            yield batch

        floor = method.thresholds.clone()
        method.prepare(batches())
        assert method.thresholds.shape == (OLD,)
        assert (method.thresholds >= floor).all()
        assert (method.thresholds > floor).any()


@pytest.mark.parametrize(
    ("method", "chosen"),
    [
        ("sats", {"distillation_weight": "20"}),
        ("sats", {"distillation_weight": True}),
        ("sats", {"thresholds": 1}),
        ("frozen", {"pixels": "100"}),
        ("frozen", {"pixels": 100.5}),
        ("frozen", {"residual": "yes"}),
        ("frozen", {"residual": 1}),
    ],
)
def test_settings_of_another_type_are_refused(method: str, chosen: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"method_settings.{next(iter(chosen))}"):
        StepSettings(method=method, method_settings=chosen)
