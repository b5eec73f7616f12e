"""What somebody brings to the first hour: a SegFormer of their own, labelled pictures, a photo.

All of it is drawn, so that nothing is downloaded. The model is a pretrained encoder whose decode
head has learned three of the demo's objects a little; the pictures show a fourth, labelled for it
alone.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

import sats_core.compat  # noqa: F401  # transformers imports torchvision, which must load first
from demo.pictures import draw_dataset, draw_scene, jpeg

OLD, NEW = ("mushroom", "fish", "leaf"), "cup"
SIZE = 256
PICTURES = 150
_TRAINED_ON, _TRAINED_AT, _EPOCHS, _BATCH = 24, 128, 3, 8
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write_model(encoder: Path, folder: Path) -> None:
    """Train a decode head on an encoder and save both as `save_pretrained` does.

    Args:
        encoder: of a SegFormer, in the hub's layout.
        folder: where the model goes.
    """
    from transformers import SegformerForSemanticSegmentation, SegformerImageProcessor

    torch.manual_seed(0)
    names = dict(enumerate(("background", *OLD)))
    model = SegformerForSemanticSegmentation.from_pretrained(
        encoder, id2label=names, label2id={name: row for row, name in names.items()}
    )
    _train(model)
    model.train(False).save_pretrained(folder)
    size = {"height": SIZE, "width": SIZE}
    SegformerImageProcessor(
        size=size, image_mean=list(_MEAN), image_std=list(_DEVIATION)
    ).save_pretrained(folder)


def _train(model: Any) -> None:
    """Train all but the encoder."""
    model.train()
    model.segformer.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.decode_head.parameters(), lr=1e-3)
    pixels, labels = _scenes()
    for _ in range(_EPOCHS):
        for chosen in torch.randperm(_TRAINED_ON).split(_BATCH):
            loss = model(pixel_values=pixels[chosen], labels=labels[chosen]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _scenes() -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures (N, 3, H, W) as the encoder knows them, and their labels (N, H, W)."""
    scenes = [
        draw_scene(np.random.default_rng((1, n)), _TRAINED_AT, OLD) for n in range(_TRAINED_ON)
    ]
    pictures = np.stack([scene.picture for scene in scenes]).astype(np.float32) / 255
    pictures = ((pictures - np.array(_MEAN)) / np.array(_DEVIATION)).astype(np.float32)
    labels = np.stack([scene.objects for scene in scenes]).astype(np.int64)
    return torch.from_numpy(pictures).permute(0, 3, 1, 2), torch.from_numpy(labels)


def write_pictures(path: Path) -> None:
    """Write a zip of pictures in Pascal VOC layout, labelled for the new class alone."""
    draw_dataset(path, (NEW,), PICTURES, SIZE, seed=2, unlabelled=OLD)


def write_photo(path: Path) -> None:
    """Write a picture that shows the new class among the old ones."""
    scene = draw_scene(np.random.default_rng(3), SIZE, (*OLD, NEW), (NEW,))
    path.write_bytes(jpeg(scene.picture, 90))
