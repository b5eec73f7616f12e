"""Write down which tests took long: `make test` leaves them to `make test-whole`.

    make test-whole FLAGS=--junitxml=report.xml && python -m tests.costly report.xml

A function is costly if one of the tests made from it took more than 0.7 seconds, or all of them
together more than five, on the machine of that report: so the list is renewed on a quiet one.
"""

import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_name("costly.txt")
MOST_OF_ONE, MOST_OF_ALL = 0.7, 5.0
"""Seconds."""


def read() -> frozenset[str]:
    """Return the functions of the list, as `path::name` or `path::Class::name`."""
    return frozenset(line.split()[0] for line in LIST.read_text().splitlines())


def function_of(nodeid: str) -> str:
    """Return the function that a test is made from."""
    return nodeid.partition("[")[0]


def costly(report: Path) -> dict[str, float]:
    """Return the costly functions of a JUnit report with the seconds of all of their tests."""
    seconds = defaultdict(list)
    for case in ElementTree.parse(report).iter("testcase"):
        place = _place(case.attrib["classname"])
        seconds[f"{place}::{function_of(case.attrib['name'])}"].append(float(case.attrib["time"]))
    return {
        name: sum(each)
        for name, each in seconds.items()
        if max(each) > MOST_OF_ONE or sum(each) > MOST_OF_ALL
    }


def _place(dotted: str) -> str:
    """Return the path of a module, and behind it the classes inside."""
    names = dotted.split(".")
    for count in range(len(names), 0, -1):
        path = "/".join(names[:count]) + ".py"
        if (ROOT / path).exists():
            return "::".join([path, *names[count:]])
    raise ValueError(f"{dotted!r} is of no module here")


def main(report: Path) -> None:
    """Write the list anew."""
    found = sorted(costly(report).items())
    LIST.write_text("".join(f"{name} {seconds:.1f}\n" for name, seconds in found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
