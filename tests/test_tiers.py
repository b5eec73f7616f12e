"""That what `make test` leaves out is tested there by something cheaper."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiers import LONG, ON_ONE_PAIR, SLOW, is_long

ROOT = Path(__file__).parents[1]


def is_there(nodeid: str) -> bool:
    path, _, name = nodeid.partition("::")
    found = ROOT / path
    function = re.escape(name.split("[")[0])
    return found.exists() and bool(re.search(rf"^def {function}\(", found.read_text(), re.M))


@pytest.mark.parametrize(("long", "instead"), LONG.items())
def test_a_long_test_has_a_cheaper_one_of_the_same_fact(long: str, instead: str) -> None:
    assert is_there(long), "it has another name now"
    assert is_there(instead)
    assert not is_long(instead)


@pytest.mark.parametrize("path", sorted({*ON_ONE_PAIR, *SLOW}))
def test_what_is_named_is_there(path: str) -> None:
    assert is_there(path) if "::" in path else (ROOT / path).exists()


def test_what_races_runs_on_both_pairs_in_make_test() -> None:
    path = "tests/app/tasks/test_post.py"
    assert path in ON_ONE_PAIR
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--collect-only"]
    listed = subprocess.check_output(
        [*command, "-n0", "-m", "races and not long", path], cwd=ROOT, text=True
    )
    assert {"[embedded]", "[served]"} <= set(re.findall(r"\[\w+\]", listed))
