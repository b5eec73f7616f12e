from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from sats_core.errors import ModelError
from sats_core.models import Backbone, Segmenter, load_pretrained, seeded_backbone

VARIANTS = [f"{family}_b{size}" for family in ("pvt_v2", "mit") for size in range(6)]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_backbone_hands_out_the_attention_of_each_stage(name: str) -> None:
    model = Segmenter(Backbone(name), [3]).eval()

    with torch.no_grad():
        output = model.observe(torch.zeros(1, 3, 64, 96))

    assert output.logits.shape == (1, 3, 16, 24)
    grids = [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert [a.grid for a in output.attention] == grids
    for a, (height, width) in zip(output.attention, grids, strict=True):
        assert a.query.shape[2] == height * width
        assert a.key.shape[2] == 2 * 3  # the key's grid: the query's by 8, 4, 2, 1
        assert a.query.shape[1] == a.key.shape[1]
        assert a.scale == pytest.approx(a.query.shape[3] ** -0.5)


def test_query_and_key_are_those_of_the_forward_pass() -> None:
    model = Segmenter(seeded_backbone("pvt_v2_b0", 0), [2]).eval()
    pictures = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    fused = F.scaled_dot_product_attention

    def spy(q: Tensor, k: Tensor, v: Tensor, **kwargs: float) -> Tensor:
        seen.append((q, k, v))
        return fused(q, k, v, **kwargs)

    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", spy)
        attention = model.observe(pictures).attention

    # b0 has two blocks a stage; the fused kernel ran for each, and the last one's is handed out.
    assert len(seen) == 8
    for a, (query, key, value) in zip(attention, seen[1::2], strict=True):
        torch.testing.assert_close(a.query, query, rtol=0, atol=0)
        torch.testing.assert_close(a.key, key, rtol=0, atol=0)
        rebuilt = torch.softmax(a.query @ a.key.mT * a.scale, dim=-1) @ value
        torch.testing.assert_close(rebuilt, fused(query, key, value), rtol=1e-5, atol=1e-6)


def test_tapping_changes_nothing_and_leaves_no_hook() -> None:
    model = Segmenter(seeded_backbone("pvt_v2_b0", 0), [2]).eval()
    pictures = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(pictures), model.observe(pictures).logits)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("vit_tiny_patch16_224", "4 stages"),
        ("resnet18", "4 stages"),
        ("twins_svt_small", "4 stages"),
        ("no_such_backbone", "no backbone named"),
        ("pvt_v2_*", "no backbone named"),
    ],
)
def test_other_backbones_are_refused_with_what_is_missing(name: str, missing: str) -> None:
    with pytest.raises(ModelError, match=missing):
        Backbone(name)


def test_a_stage_backbone_without_softmax_attention_is_refused() -> None:
    with pytest.raises(ModelError, match=r"(no adapter|4 stages)"):
        Backbone("convnext_atto")


def test_seeded_start_is_the_same_each_time() -> None:
    first, second, other = (seeded_backbone("pvt_v2_b0", seed) for seed in (1, 1, 2))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(
        not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)
    )


def test_pretrained_weights_come_from_the_directory_first(tmp_path: Path) -> None:
    source = seeded_backbone("pvt_v2_b0", 7)
    classifier = {"head.weight": torch.zeros(1000, 256), "head.bias": torch.zeros(1000)}
    save_file({**source.net.state_dict(), **classifier}, tmp_path / "pvt_v2_b0.safetensors")
    backbone = seeded_backbone("pvt_v2_b0", 0)

    assert load_pretrained(backbone, tmp_path) == "file pvt_v2_b0.safetensors"

    for a, b in zip(source.parameters(), backbone.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("content", [b"no safetensors", None])
def test_a_wrong_weights_file_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "pvt_v2_b0.safetensors"
    if content is None:
        save_file({"patch_embed.proj.bias": torch.zeros(32)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="does not hold the weights"):
        load_pretrained(seeded_backbone("pvt_v2_b0", 0), tmp_path)


def test_an_unreachable_hub_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_args: object, **_kwargs: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("sats_core.models.pretrained.hf_hub_download", unreachable)
    assert load_pretrained(seeded_backbone("pvt_v2_b0", 0), None).startswith("scratch (")
