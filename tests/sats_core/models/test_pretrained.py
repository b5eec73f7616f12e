"""Where a SegFormer encoder's first weights come from."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sats_core.errors import ModelError
from sats_core.models import Segmenter, load_pretrained, seeded_backbone, start_backbone
from sats_core.models import pretrained as module
from sats_core.segformer.weights import to_hub
from tests.fixtures.segformer import SegformerModel, change, random_segformer
from tests.fixtures.shared import shared


def unreachable(*_args: object, **_kwargs: object) -> str:
    raise OSError("no network")


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "hf_hub_download", unreachable)


def encoder(folder: Path, backbone: str = "mit_b0", **saved: object) -> SegformerModel:
    """Save an encoder alone, by the names that a model with a head has too."""
    random_segformer(folder, ["a", "b"], backbone, **saved)
    change(folder / "config.json", architectures=["SegformerModel"])
    return SegformerModel.from_pretrained(folder).eval()


def assert_same(backbone: torch.nn.Module, theirs: SegformerModel) -> None:
    pixels = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(pixels, output_hidden_states=True).hidden_states
        found = backbone.eval()(pixels)
    for ours, other in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("original", [True, False])
def test_a_directory_of_the_backbones_name(tmp_path: Path, original: bool) -> None:
    theirs = encoder(tmp_path / "mit_b0", save_original_format=original)
    backbone = seeded_backbone("mit_b0", 0)
    assert load_pretrained(backbone, tmp_path) == "directory mit_b0"
    assert_same(backbone, theirs)


def test_an_encoder_saved_by_itself(tmp_path: Path) -> None:
    theirs = encoder(tmp_path / "whole")
    theirs.save_pretrained(tmp_path / "mit_b0")
    names = load_file(tmp_path / "mit_b0" / "model.safetensors").keys()
    assert not any(name.startswith("segformer.") for name in names)
    backbone = seeded_backbone("mit_b0", 0)
    load_pretrained(backbone, tmp_path)
    assert_same(backbone, theirs)


def test_a_file_of_either_set_of_names(tmp_path: Path) -> None:
    source = seeded_backbone("mit_b0", 7)
    hub = {
        name: tensor
        for name, tensor in to_hub(Segmenter(source, [2]).state_dict()).items()
        if name.startswith("segformer.")
    }
    for weights in (source.net.state_dict(), hub):
        save_file(weights, tmp_path / "mit_b0.safetensors")
        backbone = seeded_backbone("mit_b0", 0)
        assert load_pretrained(backbone, tmp_path) == "file mit_b0.safetensors"
        for a, b in zip(source.parameters(), backbone.parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_hub_id_lies_in_the_directory_first(tmp_path: Path) -> None:
    theirs = encoder(tmp_path / "acme" / "mit-b1-medical", "mit_b1")
    backbone, source = start_backbone("acme/mit-b1-medical", 0, True, tmp_path)
    assert (backbone.name, source) == ("mit_b1", "directory acme/mit-b1-medical")
    assert_same(backbone, theirs)
    assert start_backbone("acme/mit-b1-medical", 0, False, tmp_path)[1] == "scratch"


def test_then_the_hub_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = encoder(tmp_path / "there")
    asked: list[str] = []

    def download(repository: str, file: str, **_: object) -> str:
        asked.append(repository)
        return str(tmp_path / "there" / file)

    monkeypatch.setattr(module, "hf_hub_download", download)
    for name, source in (
        ("mit_b0", "hub: nvidia/mit-b0"),
        ("acme/mit-b0-street", "hub: acme/mit-b0-street"),
    ):
        backbone, said = start_backbone(name, 0, True, tmp_path / "none")
        assert said == source
        assert asked[-1] == source.removeprefix("hub: ")
        assert_same(backbone, theirs)


def test_an_unreachable_hub(tmp_path: Path) -> None:
    backbone, source = start_backbone("mit_b0", 0, True, tmp_path)
    assert source == "scratch (no pretrained weights: OSError)"
    assert backbone.hub_id == "nvidia/mit-b0"
    with pytest.raises(ModelError, match=r"'acme/mit-b0' is neither .* \(OSError\)"):
        start_backbone("acme/mit-b0", 0, True, tmp_path)


@pytest.mark.parametrize(
    "name", ["../mit_b0", "/etc", "a/../b", "a/b/c", "./a", "a/", "a\\b/c", "acme/mit\n", "~/x"]
)
def test_a_name_does_not_lead_out_of_the_directory(tmp_path: Path, name: str) -> None:
    encoder(tmp_path / "mit_b0")
    with pytest.raises(ModelError, match="is no hub id"):
        start_backbone(name, 0, True, tmp_path / "inside")


def test_weights_of_another_backbone(tmp_path: Path) -> None:
    encoder(tmp_path / "mit_b0")
    shutil.copytree(tmp_path / "mit_b0", tmp_path / "mit_b1")
    with pytest.raises(ModelError, match=r"mit_b1/config.json describes mit_b0, not mit_b1"):
        load_pretrained(seeded_backbone("mit_b1", 0), tmp_path)
    (tmp_path / "mit_b0" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="does not hold the weights of 'mit_b0'"):
        load_pretrained(seeded_backbone("mit_b0", 0), tmp_path)
    encoder(tmp_path / "acme" / "b1", "mit_b1")
    file = tmp_path / "acme" / "b1" / "model.safetensors"
    tensors = load_file(file)
    del tensors["segformer.encoder.layer_norm.3.bias"]
    save_file(tensors, file)
    with pytest.raises(ModelError, match=r"the weights lack segformer.encoder.layer_norm.3.bias"):
        start_backbone("acme/b1", 0, True, tmp_path)


@pytest.mark.real
def test_a_real_encoder() -> None:
    folder = shared("backbones", "mit_b0")
    backbone, source = start_backbone("mit_b0", 0, True, folder.parent)
    assert source == "directory mit_b0"
    assert_same(backbone, SegformerModel.from_pretrained(folder).eval())
