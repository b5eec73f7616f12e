import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from sats_core.errors import ModelError
from sats_core.losses import Factors
from sats_core.methods.curvature import Curvature, curvature_of, drawn
from sats_core.methods.layers import layers_of
from sats_core.models import Segmenter, seeded_backbone
from tests.fixtures.backbones import TINY

SEED = 3


class ChannelNorm(nn.LayerNorm):
    """Layer norm of maps (B, C, H, W)."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.movedim(1, -1)).movedim(-1, 1)


class Tiny(nn.Module):
    """Every kind of layer, from pictures (B, 3, H, W) to logits (B, 4, H / 2, W / 2)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 5, 2, 2)
        self.batch_norm = nn.BatchNorm2d(5)
        self.depth_wise = nn.Conv2d(5, 5, 3, padding=1, groups=5)
        self.linear = nn.Linear(5, 6, bias=False)
        self.norm = nn.LayerNorm(6)
        self.classify = nn.Conv2d(6, 4, 1)
        for tensor in (*self.batch_norm.parameters(), *self.norm.parameters()):
            nn.init.normal_(tensor, 1, 0.3)
        nn.init.uniform_(self.batch_norm.running_var, 0.5, 2)  # type: ignore[arg-type]

    def forward(self, pictures: Tensor) -> Tensor:
        maps = self.depth_wise(self.batch_norm(self.embed(pictures)).relu())
        logits: Tensor = self.classify(self.norm(self.linear(maps.movedim(1, -1))).movedim(-1, 1))
        return logits


def pictures(count: int, side: int) -> tuple[Tensor, Tensor]:
    make = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, side, side, generator=make), torch.zeros(
        count, side, side, dtype=torch.long
    )


def gradients(net: nn.Module, batch: tuple[Tensor, Tensor], seed: int) -> Iterator[list[Tensor]]:
    """Each picture's gradients by all weights, of the log-likelihood of the labels drawn for it."""
    chance = torch.Generator().manual_seed(seed)
    shown, labels = batch
    logits = F.interpolate(net.eval()(shown), labels.shape[1:], mode="bilinear")
    marks = drawn(logits, chance)
    for each, of in zip(logits, marks, strict=True):
        loss = F.cross_entropy(each[None], of[None], reduction="sum") / of.numel() ** 0.5
        yield list(torch.autograd.grad(loss, list(net.parameters()), retain_graph=True))


def blocks_of(name: str, net: nn.Module, grads: list[Tensor]) -> Tensor:
    """A layer's gradients in the blocks of its weights, each (O * I)."""
    named = dict(zip((n for n, _ in net.named_parameters()), grads, strict=True))
    layer = layers_of(net)[name]
    rows = [named[f"{name}.{part}"] for part in ("weight", "bias") if f"{name}.{part}" in named]
    blocks, outputs, inputs = layer.weight().shape
    if "norm" in name:
        return torch.cat(rows)[None]
    whole = torch.cat([rows[0].flatten(1), *(bias[:, None] for bias in rows[1:])], dim=1)
    return whole.reshape(blocks, outputs * inputs)


def written_out(factors: Factors) -> Tensor:
    return torch.stack(
        [torch.kron(g, a) for a, g in zip(factors.inputs, factors.outputs, strict=True)]
    )


LAYERS = ("embed", "batch_norm", "depth_wise", "linear", "norm", "classify")


@pytest.mark.parametrize("name", LAYERS)
def test_of_one_picture_with_one_position_it_is_the_fisher_information(name: str) -> None:
    net, batch = Tiny(), (pictures(1, 2)[0], torch.zeros(1, 1, 1, dtype=torch.long))
    (grads,) = gradients(net, batch, SEED)
    rows = blocks_of(name, net, grads)
    assert rows.any()
    found = curvature_of(net, [batch], SEED).layers[name]
    torch.testing.assert_close(written_out(found), rows[:, :, None] * rows[:, None])


@pytest.mark.parametrize("name", ["batch_norm", "norm"])
def test_of_a_norm_it_is_the_fisher_information_of_any_pictures(name: str) -> None:
    net, batch = Tiny(), pictures(5, 8)
    rows = torch.cat([blocks_of(name, net, grads) for grads in gradients(net, batch, SEED)])
    found = curvature_of(net, [batch], SEED).layers[name]
    torch.testing.assert_close(written_out(found)[0], rows.mT @ rows / 5)


@pytest.mark.parametrize("name", ["embed", "depth_wise", "linear", "classify"])
def test_factors_are_means_over_positions_and_pictures(name: str) -> None:
    """Against loops over pictures, places and channels."""
    net, batch = Tiny(), pictures(3, 6)
    given: list[Tensor] = []
    grads: list[Tensor] = []
    module = net.get_submodule(name)

    def see(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        given.append(args[0].detach())
        output.register_hook(grads.append)

    handle = module.register_forward_hook(see)
    found = curvature_of(net, [batch], SEED).layers[name]
    handle.remove()
    inputs, outputs = given[0], grads[0]
    if isinstance(module, nn.Linear):
        inputs, outputs = inputs.movedim(-1, 1), outputs.movedim(-1, 1)
        size, step, padding, groups = 1, 1, 0, 1
    else:
        assert isinstance(module, nn.Conv2d)
        size, step, groups = module.kernel_size[0], module.stride[0], module.groups
        padding = int(module.padding[0])
    one = [] if module.bias is None else [torch.ones(1)]
    padded = F.pad(inputs, (padding,) * 4)
    for block in range(groups):
        a, g, places = torch.tensor(0.0), torch.tensor(0.0), 0
        for picture in range(3):
            for row in range(outputs.shape[2]):
                for column in range(outputs.shape[3]):
                    window = padded[
                        picture,
                        slice(None) if groups == 1 else slice(block, block + 1),
                        row * step : row * step + size,
                        column * step : column * step + size,
                    ]
                    patch = torch.cat([window.flatten(), *one])
                    end = outputs[picture, :, row, column]
                    end = end if groups == 1 else end[block : block + 1]
                    a, g, places = a + patch.outer(patch), g + end.outer(end), places + 1
        torch.testing.assert_close(found.inputs[block], a / places)
        torch.testing.assert_close(found.outputs[block], g / 3)


def test_a_classifier_on_one_input_has_the_second_derivative_of_the_mean_cross_entropy() -> None:
    """Where every pixel shows the same, the factors are exact, but for the draw."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    shown = torch.tensor([1.0, -0.5, 2.0])[None, :, None, None].expand(2, 3, 100, 100)
    labels = torch.zeros(2, 100, 100, dtype=torch.long)
    weight = layers_of(net)["0"].weight()[0].detach()

    def loss(flat: Tensor) -> Tensor:
        rows = flat.view(4, 4)
        logits = F.conv2d(shown, rows[:, :3, None, None], rows[:, 3])
        return F.cross_entropy(logits, labels)

    expected = torch.autograd.functional.hessian(loss, weight.flatten())
    found = written_out(curvature_of(net, [(shown, labels)], SEED).layers["0"])[0]
    assert (found - expected).abs().max() < 0.03 * expected.abs().max()


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    model = Segmenter(seeded_backbone(TINY, 0), [3])
    with torch.no_grad():
        model.classifier.steps[0].weight.mul_(30)  # sure of something
    return model.eval()


def test_rows_of_all_layers_make_up_the_gradient_by_every_weight(segmenter: Segmenter) -> None:
    """What a layer has seen, multiplied, is the gradient by its matrix: nothing is left out."""
    layers = layers_of(segmenter)
    by_matrix: dict[str, Tensor] = {}
    handles = []
    for name, layer in layers.items():

        def seen(inputs: Tensor, ends: Tensor, name: str = name) -> None:
            by_matrix[name] = ends.mT @ inputs

        handles += layer.watch(seen)
    shown, labels = pictures(2, 64)
    labels[:, 20:40] = 1
    weights = dict(segmenter.named_parameters())
    logits = F.interpolate(segmenter(shown), (64, 64), mode="bilinear")
    expected = torch.autograd.grad(F.cross_entropy(logits, labels), list(weights.values()))
    for handle in handles:
        handle.remove()
    assert set(by_matrix) == set(layers)
    matrices = [layers[name].weight() for name in by_matrix]
    made = torch.autograd.grad(matrices, list(weights.values()), list(by_matrix.values()))
    for name, one, other in zip(weights, made, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6, msg=name)
        assert other.any(), name


def test_the_model_stays_as_it_is(segmenter: Segmenter) -> None:
    model = copy.deepcopy(segmenter)
    model.train_step(updates_norms=True)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    curvature_of(model, [pictures(2, 64)], SEED)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def test_batches_and_their_order_in_one_pass_make_one_mean() -> None:
    net, (shown, labels) = Tiny(), pictures(4, 8)
    whole = curvature_of(net, [(shown, labels)], SEED).layers["embed"].inputs
    parts = [(shown[:1], labels[:1]), (shown[1:], labels[1:])]
    torch.testing.assert_close(curvature_of(net, parts, SEED).layers["embed"].inputs, whole)


def test_shares_of_the_pictures_add_up() -> None:
    net, (shown, labels) = Tiny(), pictures(4, 8)
    counted: list[list[Tensor]] = []
    for share in (slice(1), slice(1, 4)):
        counted.append([])

        def count(tensor: Tensor) -> Tensor:
            counted[-1].append(tensor.clone())
            return tensor

        curvature_of(net, [(shown[share], labels[share])], SEED, count)
    totals = map(sum, zip(*counted, strict=True))
    found = curvature_of(net, [(shown[:1], labels[:1])], SEED, lambda _own: next(totals))
    whole = curvature_of(net, [(shown, labels)], SEED)
    for name, factors in whole.layers.items():
        if "norm" not in name:
            torch.testing.assert_close(found.layers[name].inputs, factors.inputs)


class TestIgnored:
    def test_pictures_of_which_all_is_ignored_do_not_count(self) -> None:
        net, (shown, labels) = Tiny(), pictures(2, 8)
        labels[1] = 255
        both = curvature_of(net, [(shown, labels)], SEED)
        alone = curvature_of(net, [(shown[:1], labels[:1])], SEED)
        for name, factors in alone.layers.items():
            assert torch.equal(both.layers[name].outputs, factors.outputs)
            assert torch.equal(both.layers[name].inputs, factors.inputs)

    def test_ignored_pixels_have_no_loss(self) -> None:
        net, (shown, labels) = Tiny(), pictures(1, 8)
        labels[:, :, 4:] = 255
        ends: list[Tensor] = []
        handles = layers_of(net)["classify"].watch(lambda _inputs, found: ends.append(found))
        curvature_of(net, [(shown, labels)], SEED)
        for handle in handles:
            handle.remove()
        by_place = ends[0].view(4, 4, 4)
        assert by_place[:, :2].all()
        assert not by_place[:, 3].any()

    def test_nothing_shown_is_no_curvature(self) -> None:
        shown, labels = pictures(2, 8)
        assert curvature_of(Tiny(), [(shown, labels + 255)], SEED).layers == {}
        assert curvature_of(Tiny(), [], SEED).layers == {}


def test_labels_are_drawn_as_often_as_the_model_says() -> None:
    logits = torch.tensor([0.1, 0.6, 0.3]).log()[None, :, None, None].expand(1, 3, 200, 200)
    marks = drawn(logits, torch.Generator().manual_seed(0))
    shares = torch.bincount(marks.flatten()) / marks.numel()
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.6, 0.3]), atol=0.01, rtol=0)
    again = drawn(logits, torch.Generator().manual_seed(0))
    assert torch.equal(marks, again)


@pytest.mark.parametrize(
    "layer", [nn.Conv1d(2, 2, 1), nn.Conv2d(4, 4, 1, groups=2), nn.ConvTranspose2d(2, 2, 2)]
)
def test_a_layer_that_is_not_known_is_named(layer: nn.Module) -> None:
    with pytest.raises(ModelError, match=rf"1: no curvature is known of a {type(layer).__name__}"):
        layers_of(nn.Sequential(nn.ReLU(), layer))


class TestMerged:
    def test_adds_and_takes_what_only_one_has(self) -> None:
        one = Factors(torch.eye(2)[None], torch.ones(1, 1, 1))
        two = Factors(torch.ones(1, 2, 2), torch.full((1, 1, 1), 3.0))
        merged = Curvature({"a": one, "b": one}).merged(Curvature({"b": two, "c": two}))
        assert set(merged.layers) == {"a", "b", "c"}
        torch.testing.assert_close(written_out(merged.layers["a"])[0], torch.eye(2))
        expected = torch.eye(2) + 3 * torch.ones(2, 2)
        torch.testing.assert_close(written_out(merged.layers["b"])[0], expected)
        torch.testing.assert_close(written_out(merged.layers["c"])[0], 3 * torch.ones(2, 2))

    def test_earlier_steps_may_count_less(self) -> None:
        one = Factors(torch.eye(2)[None], torch.ones(1, 1, 1))
        two = Factors(torch.ones(1, 2, 2), torch.full((1, 1, 1), 3.0))
        merged = Curvature({"a": one, "b": one}).merged(Curvature({"b": two}), earlier=0.5)
        torch.testing.assert_close(written_out(merged.layers["a"])[0], torch.eye(2) / 2)
        expected = torch.eye(2) / 2 + 3 * torch.ones(2, 2)
        torch.testing.assert_close(written_out(merged.layers["b"])[0], expected)

    def test_of_a_grown_model_has_the_old_rows_and_the_new_ones(self, segmenter: Segmenter) -> None:
        before = curvature_of(segmenter, [pictures(1, 64)], SEED)
        grown = copy.deepcopy(segmenter)
        grown.classifier.grow(2)
        after = before.merged(curvature_of(grown, [pictures(1, 64)], SEED))
        assert set(after.layers) - set(before.layers) == {"classifier.steps.1"}
        assert after.layers["classifier.steps.0"].outputs.shape == (1, 3, 3)
        assert after.layers["classifier.steps.1"].outputs.shape == (1, 2, 2)
        size = sum(t.numel() * 4 for f in after.layers.values() for t in f)
        assert after.size == size > before.size


class TestFile:
    def test_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        net = Tiny()
        found = curvature_of(net, [pictures(2, 8)], SEED)
        path = tmp_path / "curvature.safetensors"
        found.save(path)
        again = Curvature.load(path, net)
        assert set(again.layers) == set(found.layers)
        for name, factors in found.layers.items():
            assert all(map(torch.equal, again.layers[name], factors))
        assert path.stat().st_size == pytest.approx(found.size, abs=4096)

    @pytest.mark.parametrize(
        "broken",
        [
            {"embed/inputs": torch.eye(13)[None]},
            {"embed/inputs": torch.eye(3)[None], "embed/outputs": torch.eye(5)[None]},
            {"other/inputs": torch.eye(13)[None], "other/outputs": torch.eye(5)[None]},
        ],
    )
    def test_of_another_model_is_refused(self, tmp_path: Path, broken: dict[str, Tensor]) -> None:
        path = tmp_path / "curvature.safetensors"
        save_file(broken, path)
        with pytest.raises(ModelError, match=r"curvature.safetensors"):
            Curvature.load(path, Tiny())

    def test_holds_numbers_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "curvature.safetensors"
        curvature_of(Tiny(), [pictures(1, 8)], SEED).save(path)
        assert {t.dtype for t in load_file(path).values()} == {torch.float32}
        assert np.isfinite([t.sum().item() for t in load_file(path).values()]).all()
