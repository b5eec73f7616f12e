"""That what a tier leaves out is named, and what CI leaves out tested by something cheaper."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import costly
from tests.tiers import KEPT, LONG, ON_ONE_PAIR, SLOW, is_long

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


REPORT = """<testsuites><testsuite>
<testcase classname="tests.test_tiers" name="test_one[a]" time="0.2"/>
<testcase classname="tests.test_tiers" name="test_one[b]" time="1.2"/>
<testcase classname="tests.test_tiers.TestIt" name="test_two" time="3.0"/>
<testcase classname="tests.test_tiers" name="test_cheap[a]" time="0.6"/>
<testcase classname="tests.test_tiers" name="test_cheap[b]" time="0.6"/>
{many}
</testsuite></testsuites>"""
MANY = '<testcase classname="tests.test_tiers" name="test_many[{}]" time="0.5"/>'


def test_costly_is_what_took_a_second_or_is_many(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT.format(many="".join(MANY.format(i) for i in range(20))))
    assert costly.costly(report) == {
        "tests/test_tiers.py::test_one": pytest.approx(1.4),
        "tests/test_tiers.py::TestIt::test_two": 3.0,
        "tests/test_tiers.py::test_many": 10.0,
    }
    report.write_text(REPORT.format(many=MANY.format(1).replace("tests.", "no.")))
    with pytest.raises(ValueError, match=r"no\.test_tiers"):
        costly.costly(report)


def test_what_is_costly_is_there_and_what_is_kept_is_costly() -> None:
    names = costly.read()
    assert names >= KEPT
    gone = set()
    for name in names:
        path, *_, function = name.split("::")
        text = (ROOT / path).read_text() if (ROOT / path).exists() else ""
        if function != "runTest" and not re.search(rf"^\s*def {function}\(", text, re.M):
            gone.add(name)
    assert not gone, "take them from tests/costly.txt"


def test_what_races_runs_on_both_pairs_in_make_test_whole() -> None:
    path = "tests/app/tasks/test_post.py"
    assert path in ON_ONE_PAIR
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--collect-only"]
    listed = subprocess.check_output(
        [*command, "-n0", "-m", "races and not long", path], cwd=ROOT, text=True
    )
    assert {"[embedded]", "[served]"} <= set(re.findall(r"\[\w+\]", listed))
