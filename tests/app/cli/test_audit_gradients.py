"""`sats audit gradients` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from benchmarks.serving_version import make_version

    directory = tmp_path_factory.mktemp("made") / "version"
    make_version(directory, "pvt_v2_b0", 32)
    return directory


def picture(path: Path) -> str:
    Image.new("RGB", (32, 32), (200, 40, 90)).save(path)
    return str(path)


def test_a_directory_is_audited(run, version: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    shown = picture(tmp_path / "p.png")
    answer = run(
        *("audit", "gradients", str(version), str(out), "--picture", shown),
        *("--unrelated", shown, "--iterations", "1"),
    )
    assert answer.exit_code == 0, answer.output
    for word in ("painted", "unrelated", "no dropout", "dropout, mask read off", "SSIM"):
        assert word in answer.stdout
    assert "no guarantee" in answer.stderr
    assert {file.name for file in out.iterdir()} == {
        *("report.json", "picture.png"),
        *(f"attack-{number}.png" for number in range(1, 5)),
    }
    report = json.loads((out / "report.json").read_text())
    assert report["marks"]["unrelated"]["psnr"] == 100


def test_the_live_version_is_audited_and_a_damaged_one_told(run, register, tmp_path: Path) -> None:
    register()  # a graph without weights: what the child says of it is what the user reads
    answer = run("audit", "gradients", "default", str(tmp_path / "out"))
    assert answer.exit_code == 2
    assert "the version in version cannot be loaded" in answer.stderr
    assert "Traceback" not in answer.output
    (tmp_path / "file").touch()
    answer = run("audit", "gradients", "default", str(tmp_path / "file" / "inside"))
    assert answer.exit_code == 2
    assert "cannot be written" in " ".join(answer.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("nope", "{out}"), 1, "there is no model 'nope'"),
        (("default@0", "{out}"), 2, "a version's number"),
        (("some/folder", "{out}"), 1, "there is no config.json"),
        (("default", "{out}", "--labels", "{picture}"), 2, "--labels are of a --picture"),
        (("default", "{out}", "--size", "40"), 2, "--size 40: a multiple of 32"),
        (("default", "{out}", "--iterations", "0"), 2, "--iterations"),
        (("default", "{full}"), 2, "not an empty directory"),
        (("default", "{out}", "--picture", "nowhere.png"), 2, "nowhere.png"),
    ],
)
def test_what_cannot_be_audited_is_refused(
    run, tmp_path: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    (tmp_path / "full").mkdir()
    places = {
        "out": tmp_path / "out",
        "full": tmp_path / "full",
        "picture": picture(tmp_path / "full" / "p.png"),
    }
    answer = run("audit", "gradients", *(word.format(**places) for word in words))
    assert (answer.exit_code, answer.stdout) == (status, "")
    assert said in " ".join(answer.stderr.replace("│", " ").split())
    assert answer.stderr.count("sats: ") <= 1, "one reason, once"
    assert not places["out"].exists()


def test_the_command_itself_holds_no_torch() -> None:
    code = "import sys, app.cli.audit; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
