"""The audit of a version's gradients: what it measures of which picture, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.serving_version import NAMES, make_version
from sats_core.errors import CoreError
from sats_core.evaluation.similarity import psnr, ssim
from sats_core.leakage_report import Attack, LeakageJob, LeakageReport
from sats_core.training import leakage_audit
from sats_core.training.leakage_audit import audit, probe
from tests.fixtures.backbones import TINY

SIDE = 32


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made") / "version"
    make_version(directory, TINY, SIDE)
    return directory


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def save(path: Path, values: NDArray[np.uint8]) -> Path:
    Image.fromarray(values).save(path)
    return path


def stripes(height: int, width: int) -> NDArray[np.uint8]:
    """A picture whose colours say where a pixel is."""
    rows, columns = np.indices((height, width))
    return np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=2).astype(np.uint8)


def opened(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1) / 255


def test_a_report_says_what_its_pictures_show(version: Path, tmp_path: Path, out: Path) -> None:
    picture = save(tmp_path / "p.png", stripes(40, 64))
    marks = np.zeros((40, 64), np.uint8)
    marks[:, 20:30], marks[:5] = 4, 255
    job = LeakageJob(
        version=version,
        picture=picture,
        labels=save(tmp_path / "l.png", marks),
        unrelated=save(tmp_path / "u.png", stripes(64, 64)[::-1].copy()),
        iterations=2,
        out=out,
    )
    report = audit(job)
    assert report == LeakageReport.model_validate_json((out / "report.json").read_bytes())
    assert (report.picture, report.labels) == ("p.png", "given")
    assert report.classes == ("background", NAMES[3])
    assert [one.attack for one in report.attacks] == list(Attack)
    assert set(report.marks) == {"flat", "painted", "noise", "unrelated"}
    assert 0 < report.dropped < report.channels
    assert "no guarantee" in report.note
    shown = opened(out / "picture.png")
    middle = Image.fromarray(stripes(40, 64)[:, 12:52]).resize((SIDE, SIDE), 2)
    assert np.array_equal(np.asarray(middle), np.asarray(Image.open(out / "picture.png")))
    for one in report.attacks:
        made = opened(out / one.file)
        assert one.similarity.psnr == pytest.approx(psnr(shown, made), abs=0.1)
        assert one.similarity.ssim == pytest.approx(ssim(shown, made), abs=0.01)
        assert (one.mask_agrees is None) == (one.attack in (Attack.BARE, Attack.IGNORED))


@pytest.mark.parametrize("given", [True, False])
def test_a_picture_is_drawn_or_labelled_by_the_version(
    version: Path, tmp_path: Path, out: Path, given: bool
) -> None:
    picture = save(tmp_path / "p.png", stripes(48, 48)) if given else None
    job = LeakageJob(version=version, picture=picture, iterations=1, out=out)
    report = audit(job, [Attack.BARE])
    expected = ("p.png", "predicted") if given else ("drawn", "drawn")
    assert (report.picture, report.labels) == expected
    assert report.classes
    assert "unrelated" not in report.marks


@pytest.mark.parametrize("channels", [1, 2, 9])
def test_a_drawn_picture_has_labels_of_the_version(channels: int) -> None:
    picture, label = probe(64, channels, seed=1)
    assert picture.shape == (64, 64, 3)
    assert label.shape == (64, 64)
    assert label.max() < channels
    assert (np.unique(label).size > 1) == (channels > 1)
    assert np.array_equal(picture, probe(64, channels, seed=1)[0])
    assert not np.array_equal(picture, probe(64, channels, seed=2)[0])


WRONG = {
    "l.png: labels are one class index a pixel, not colours": stripes(48, 48),
    "l.png: has 40 x 48 pixels, its picture 48 x 48": np.zeros((48, 40), np.uint8),
    "l.png: the version has no class with index 77": np.full((48, 48), 77, np.uint8),
    "l.png: every pixel of the square in the middle is ignored": np.full((48, 48), 255, np.uint8),
}


@pytest.mark.parametrize("said", WRONG)
def test_labels_that_do_not_fit_are_refused(
    version: Path, tmp_path: Path, out: Path, said: str
) -> None:
    picture = save(tmp_path / "p.png", stripes(48, 48))
    labels = save(tmp_path / "l.png", WRONG[said])
    job = LeakageJob(version=version, picture=picture, labels=labels, iterations=1, out=out)
    with pytest.raises(CoreError, match=said):
        audit(job)
    assert not list(out.iterdir())


def test_labels_outside_the_square_are_refused(version: Path, tmp_path: Path, out: Path) -> None:
    marks = np.full((32, 64), 255, np.uint8)
    marks[:, :10] = 4  # the square has columns 16 to 47
    job = LeakageJob(
        version=version,
        picture=save(tmp_path / "p.png", stripes(32, 64)),
        labels=save(tmp_path / "l.png", marks),
        iterations=1,
        out=out,
    )
    with pytest.raises(CoreError, match=r"l\.png: every pixel of the square in the middle"):
        audit(job)
    assert not list(out.iterdir())


def test_what_is_no_picture_or_no_version_is_refused(
    version: Path, tmp_path: Path, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.png").write_bytes(b"no picture")
    jobs = {
        "p.png: not a picture": LeakageJob(version=version, picture=tmp_path / "p.png", out=out),
        "the version in out cannot be loaded": LeakageJob(version=out, out=out),
    }
    for said, job in jobs.items():
        (tmp_path / "job.json").write_text(job.model_dump_json())
        assert leakage_audit.main(tmp_path / "job.json") == leakage_audit.REFUSED
        assert capfd.readouterr().err.startswith(said)
    assert not list(out.iterdir())
