"""What the README and the pages of docs/ say is so."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from app.main import create_app
from app.settings import Settings
from demo import plan
from demo.pictures import draw_dataset, draw_scene, jpeg
from demo.service import serving
from sats_core.settings import OfferedMethod
from tests.docs.examples import (
    CALLS,
    ROOT,
    SETTINGS,
    Session,
    calls_of,
    differences,
    find_examples,
)
from tests.docs.settings_table import replace_table

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)

# The examples train for minutes; here a moment is enough to see that they work.
QUICK = {
    '"epochs": 12': '"epochs": 1, "gate": {"max_drop": 1, "min_iou": 0}',
    '"epochs": 10': '"epochs": 1, "gate": {"max_drop": 1, "min_iou": 0}',
    '"size": 64': '"size": 32',
}

# What may be null or not, and lists that may be longer or shorter, by what the command names.
VARYING = {
    # What QUICK asks for, and what comes of a model that learned for a moment.
    "/tasks": {
        "answer.spec.gate.max_drop",
        "answer.spec.gate.min_iou",
        "answer.warnings",
        "answer.waiting_for",  # the service's worker may not be there yet
    },
    "/admin/workers": {"answer.items[].task"},  # a webhook's task may still run
    "/versions/2": {"answer.gate.waived"},
    "/uploads/": {"answer.warnings"},  # the tests draw fewer pictures
    "/forgetting": {"answer.alignment[].new", "answer.norm_ratio"},
    "/deliveries": {  # how far the worker has come
        "answer.items[].next_attempt_at",
        "answer.items[].error",
    },
    "/segment": {  # which classes a model finds that learned for a moment
        "answer.pictures[].classes",
        "answer.pictures[].classes[].rle",
    },
}


def test_the_settings_table_is_the_settings():
    page = SETTINGS.read_text()
    assert replace_table(page) == page, "run `make readme`"


def test_the_methods_told_of_are_those_that_a_task_may_ask_for():
    rows = TEXT.partition("| method | is | take it |\n|---|---|---|\n")[2].partition("\n\n")[0]
    told = [name for row in rows.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(told) == sorted(get_args(OfferedMethod))


def test_every_setting_named_is_a_setting():
    named = set(re.findall(r"\bSATS_[A-Z_]*[A-Z]\b", TEXT))
    options = {"SATS_HOST", "SATS_PORT", "SATS_URL", "SATS_API_KEY"}  # of the command line
    assert named <= {f"SATS_{name.upper()}" for name in Settings.model_fields} | options


def test_every_make_target_named_is_one():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`|\s)make ([a-z-]+)\b", "\n".join(_code(TEXT))))
    assert named
    assert named <= targets


@pytest.mark.parametrize("page", ["from-cvat", "label-studio", "python", "tools"])
def test_commands_can_be_typed_as_they_stand(page: str):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    assert not re.findall(r"(?:^ *|`|; )(?:sats|cvat-cli|pip) .*", text, re.MULTILINE)


def test_every_relative_link_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), (page.name, target)


def test_pictures_are_small():
    for path in (ROOT / "docs" / "images").glob("*"):
        assert path.stat().st_size < 400 * 1024, path.name


def test_the_readme_can_be_read_in_one_go():
    assert len(README.read_text().splitlines()) <= 230


@pytest.mark.parametrize("protocol", ["voc8-4-1", "ccp-15-1", "drawn-6-1"])
def test_the_readme_tells_of_the_default_method_what_was_measured(protocol: str):
    told = next(row for row in README.read_text().splitlines() if f"learning-{protocol}.md" in row)
    page = (ROOT / re.findall(r"\[more\]\((.*?)\)", told)[0]).read_text()
    measured = next(row for row in page.splitlines() if row.startswith("| `frozen` | "))
    _, everything, base, new, *_ = [cell.strip() for cell in measured.strip("|").split("|")]
    assert re.findall(r"\d\.\d{3}", told)[::2] == [everything, base]
    assert f"| {new} |" in told


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path):
    site = tmp_path / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    loaded = re.compile(
        r"<(?:script|img|iframe)[^>]* src=\"?(?:https?:)?//|<link[^>]*stylesheet[^>]*//"
    )
    assert not [page.name for page in pages if loaded.search(page.read_text())]


def _code(text: str) -> list[str]:
    return re.findall(r"```bash\n(.*?)```", text, re.DOTALL) + re.findall(r"`[^`\n]+`", text)


def test_every_call_has_an_example(settings: Settings):
    called = {call for one in find_examples(CALLS.read_text()) for call in calls_of(one)}
    for path, methods in create_app(settings).openapi()["paths"].items():
        pattern = re.compile(re.sub(r"\{[^}]+\}", "[^/:]+", path))
        for method, operation in methods.items():
            shown = any(m == method and pattern.fullmatch(p) for m, p in called)
            assert shown or operation.get("deprecated"), (method, path)


@pytest.mark.slow
def test_every_example_answers_as_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("SATS_THREADS", "1")
    output = tmp_path / "demo-output"
    output.mkdir()
    draw_dataset(output / "base.zip", plan.OLD_CLASSES, 25, 64, seed=1)
    draw_dataset(output / "step.zip", plan.NEW_CLASSES, 10, 64, seed=2, unlabelled=plan.OLD_CLASSES)
    rng = np.random.default_rng(3)
    scene = draw_scene(rng, 64, plan.CLASSES)
    (output / "showcase-01.jpg").write_bytes(jpeg(scene.picture, 92))
    shutil.copy(README, tmp_path)  # one example posts it
    examples = find_examples(CALLS.read_text())
    assert examples
    with serving(tmp_path / "service") as url:
        environment = {"SATS_DATA_DIR": str(tmp_path / "service" / "data")}
        session = Session(url, tmp_path, environment, quick=QUICK)
        wrong = []
        for example in examples:
            try:
                printed = session.run(example)
            except RuntimeError as error:  # what went wrong before it may be why
                wrong.append(str(error))
                break
            found = differences(example.answer, printed, _varying(example.command))
            wrong += [f"{example.command}: {one}" for one in found]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def _varying(command: str) -> set[str]:
    return {place for call, places in VARYING.items() if call in command for place in places}
