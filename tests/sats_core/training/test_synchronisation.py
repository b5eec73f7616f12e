import pytest
import torch
from torch import nn

from sats_core.evaluation.predict import normalise
from sats_core.methods import METHODS, Finetune, make_method
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import StepSettings
from sats_core.training.loop import autocast
from sats_core.training.schedule import filled_in, make_optimizer

OLD, NEW = 3, 2
DESCENDING = sorted(name for name, kind in METHODS.items() if issubclass(kind, Finetune))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", DESCENDING)
def test_a_training_step_never_waits_for_the_device(name: str) -> None:
    device = torch.device("cuda")
    old = Segmenter(seeded_backbone("pvt_v2_b0", 0), [OLD]).to(device)
    model = Segmenter(seeded_backbone("pvt_v2_b0", 0), [OLD])
    model.classifier.grow(NEW)
    model.to(device)
    settings = filled_in(StepSettings(method=name, size=64), base=False)
    method = make_method(settings, model, old)
    assert isinstance(method, Finetune)
    pictures = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8).pin_memory()
    labels = torch.randint(0, OLD + NEW, (2, 64, 64), dtype=torch.uint8).pin_memory()
    method.prepare([(normalise(pictures.to(device), model), labels.to(device).long())])
    optimizer = make_optimizer(model, settings)
    model.train_step(base=False)

    def step() -> None:
        pixels = normalise(pictures.to(device, non_blocking=True), model)
        with autocast(device, settings.size):
            terms = method.loss_terms(pixels, labels.to(device, non_blocking=True).long())
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimizer.step()

    step()  # what is made once, workspaces and plans, may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
