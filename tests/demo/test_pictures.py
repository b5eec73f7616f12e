import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from demo.objects import CLUTTER, OBJECTS
from demo.pictures import draw_dataset, draw_scene, draw_showcase, palette_png
from demo.textures import GROUNDS, grid
from sats_core.classes import voc_colour

SIZE = 64


def _read_labels(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    return {
        name: np.asarray(Image.open(io.BytesIO(archive.read(name))))
        for name in archive.namelist()
        if name.startswith("SegmentationClass/")
    }


def test_a_data_set_is_in_voc_layout(tmp_path):
    path = tmp_path / "set.zip"
    draw_dataset(path, ("fish", "leaf"), 10, SIZE, seed=4)
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        assert archive.read("classes.txt").decode() == "0 background\n1 fish\n2 leaf\n"
        train = archive.read("ImageSets/Segmentation/train.txt").decode().split()
        validation = archive.read("ImageSets/Segmentation/val.txt").decode().split()
        assert len(train) == 8
        assert len(validation) == 2
        assert not set(train) & set(validation)
        for name in train + validation:
            assert f"SegmentationClass/{name}.png" in names
            picture = Image.open(io.BytesIO(archive.read(f"JPEGImages/{name}.jpg")))
            assert picture.size == (SIZE, SIZE)
            assert picture.mode == "RGB"


def test_every_picture_shows_a_labelled_class_and_hides_the_unlabelled_ones(tmp_path):
    path = tmp_path / "set.zip"
    draw_dataset(path, ("cup",), 20, SIZE, seed=4, unlabelled=("mushroom", "fish", "leaf"))
    with zipfile.ZipFile(path) as archive:
        assert archive.read("classes.txt").decode() == "0 background\n1 cup\n"
        for label in _read_labels(archive).values():
            assert set(np.unique(label)) == {0, 1}


def test_the_same_seed_gives_the_same_pictures(tmp_path):
    first, second, other = (tmp_path / f"{name}.zip" for name in ("first", "second", "other"))
    draw_dataset(first, ("fish",), 3, SIZE, seed=4)
    draw_dataset(second, ("fish",), 3, SIZE, seed=4)
    draw_dataset(other, ("fish",), 3, SIZE, seed=5)
    with zipfile.ZipFile(first) as a, zipfile.ZipFile(second) as b, zipfile.ZipFile(other) as c:
        assert all(a.read(name) == b.read(name) for name in a.namelist())
        assert a.read("JPEGImages/0000.jpg") != c.read("JPEGImages/0000.jpg")


def test_the_showcase_labels_every_class():
    scenes = draw_showcase(tuple(OBJECTS), 12, SIZE, seed=1)
    shown = set().union(*(np.unique(scene.objects).tolist() for scene in scenes))
    assert shown == set(range(len(OBJECTS) + 1))


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_lies_where_its_label_says(name):
    rng = np.random.default_rng(0)
    scenes = [draw_scene(rng, SIZE, (name,), always=(name,)) for _ in range(6)]
    for scene in scenes:
        share = np.count_nonzero(scene.objects) / SIZE**2
        assert 0.02 < share < 0.9
        assert scene.picture.std() > 10


@pytest.mark.parametrize("drawer", [*OBJECTS.values(), *CLUTTER])
def test_an_object_stays_inside_its_box(drawer):
    for seed in range(10):
        u, v = (axis * np.float32(1.5) for axis in grid(96))
        cover, colours = drawer(np.random.default_rng(seed), u, v)
        assert colours.shape == (96, 96, 3)
        assert np.isfinite(colours[cover]).all()
        assert cover.any()
        assert not (cover & (np.hypot(u, v) > 1.45)).any()


def test_colour_alone_tells_no_class():
    """Mean colours of different classes lie among each other: the nearest one is often wrong."""
    rng = np.random.default_rng(0)
    u, v = grid(48)
    means, labels = [], []
    for label, drawer in enumerate(OBJECTS.values()):
        for _ in range(40):
            cover, colours = drawer(rng, u, v)
            means.append(colours[cover].mean(axis=0))
            labels.append(label)
    points, truth = np.array(means), np.array(labels)
    distance = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(distance, np.inf)
    right = np.mean(truth[distance.argmin(axis=1)] == truth)
    assert right < 0.85


@pytest.mark.parametrize("ground", GROUNDS)
def test_a_ground_is_textured(ground):
    drawn = ground(np.random.default_rng(3), 96)
    assert drawn.shape == (96, 96, 3)
    assert np.isfinite(drawn).all()
    assert np.abs(np.diff(drawn.mean(axis=-1), axis=0)).mean() > 0.002


def test_masks_carry_the_voc_palette():
    label = np.array([[0, 1], [2, 255]], np.uint8)
    picture = Image.open(io.BytesIO(palette_png(label)))
    assert picture.mode == "P"
    assert (np.asarray(picture) == label).all()
    assert picture.convert("RGB").getpixel((1, 0)) == voc_colour(1)
