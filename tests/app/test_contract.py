"""What docs/ says of the HTTP contract is what the code does."""

import difflib
from importlib.metadata import version

import pytest
from pydantic import ValidationError

from app.errors.codes import MEANINGS, Code
from app.errors.fields import invalid_fields
from app.tasks.schemas import TaskSpec
from tests.app.contract import DOCS, PAGES, problem_kinds

MOST_LINES = 60


def as_pinned() -> bool:
    """Return whether what writes the document is installed as it was tested last."""
    pinned = (DOCS.parent / "constraints.txt").read_text().splitlines()
    return all(f"{name}=={version(name)}" in pinned for name in ("fastapi", "pydantic"))


@pytest.mark.skipif(not as_pinned(), reason="another FastAPI or pydantic words it its way")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_as_the_code_says(name):
    committed = (DOCS / name).read_text(encoding="utf-8").splitlines()
    now = PAGES[name]().splitlines()
    changed = [*difflib.unified_diff(committed, now, f"docs/{name}", "the code", lineterm="", n=2)]
    if changed:
        shown = "\n".join(changed[:MOST_LINES])
        left = len(changed) - MOST_LINES
        rest = f"\n... and {left} lines more" if left > 0 else ""
        pytest.fail(
            f"docs/{name} is not what the code says. If clients can live with the change "
            f"(docs/compatibility.md), run `make contract` and commit it.\n{shown}{rest}",
            pytrace=False,
        )


def test_every_kind_of_problem_has_a_slug_of_its_own():
    slugs = [kind.slug for kind in problem_kinds()]
    assert len(slugs) > 30
    assert sorted(set(slugs)) == sorted(slugs)


def test_every_code_is_explained():
    assert list(MEANINGS) == list(Code)


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({}, Code.MISSING),
        ({"name": "a", "colour": 1}, Code.UNKNOWN),
        ({"name": "a", "method": "magic"}, Code.UNKNOWN),
        ({"name": 1}, Code.WRONG_TYPE),
        ({"name": "a", "epochs": 0}, Code.TOO_SMALL),
        ({"name": "a" * 300}, Code.TOO_LARGE),
        ({"name": "a", "classes": ["b", "b"]}, Code.INVALID),
    ],
)
def test_a_fault_of_a_spec_has_its_code(spec, code):
    with pytest.raises(ValidationError) as wrong:
        TaskSpec.model_validate(spec)
    (fault,) = invalid_fields(wrong.value.errors()).errors
    assert fault.body()["code"] == code
