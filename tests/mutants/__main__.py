"""`make mutants`: change the code in small ways, one at a time; a test must fail each time.

    python -m tests.mutants [FILE ...]

mutmut makes the changes and runs the tests, as `[tool.mutmut]` in pyproject.toml says. What it
found stays in mutants/: a run that was stopped goes on, and what a test caught once is not tried
again until its function changes. Survivors are tried again each time. Of files that are named, and
no others, everything is tried again.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

from tests.mutants.survivors import Change, accepted, one_line

CAUGHT = {"killed", "timeout", "segfault"}
ROW = "{:44}{:>9}{:>9}{:>10}{:>5}{:>9}"


def main(only: Sequence[str]) -> None:
    """Exit with 1 where something survived that the list has not.

    Args:
        only: files to look at; none: all that pyproject.toml names.
    """
    unknown = set(only) - {str(path) for path in walk_mutatable_files()}
    if unknown:
        sys.exit(f"pyproject.toml has no such file mutated: {', '.join(sorted(unknown))}")
    _forget_survivors()
    mutmut = Path(sys.executable).with_name("mutmut")
    names = [f"{file.removesuffix('.py').replace('/', '.')}.*" for file in only]
    if subprocess.run([mutmut, "run", "--max-children", "2", *names], check=False).returncode:
        sys.exit("mutmut failed")
    known = {change: why for change, why in accepted().items() if not only or change.file in only}
    found: set[Change] = set()
    typer.echo("\n" + ROW.format("", "changes", "caught", "accepted", "new", "seconds"))
    for data in _results():
        if only and str(data.path) not in only:
            continue
        survived = list(_survivors(data))
        new = [change for change in survived if change not in known]
        mutants, seconds = len(data.exit_code_by_key), sum(data.durations_by_key.values())
        caught, let_be = mutants - len(survived), len(survived) - len(new)
        typer.echo(ROW.format(str(data.path), mutants, caught, let_be, len(new), round(seconds)))
        found.update(survived)
    for change in sorted(known.keys() - found):
        typer.echo(f"\nin the list, but caught or gone: {change}")
    new = sorted(found - known.keys())
    for change in new:
        typer.echo(f"\nno test notices: {change}")
    sys.exit(bool(new))


def _results() -> Iterator[SourceFileMutationData]:
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        if data.exit_code_by_key:
            yield data


def _forget_survivors() -> None:
    """mutmut lets every result stand, also where there are better tests by now."""
    for data in _results():
        for name, code in data.exit_code_by_key.items():
            if status_by_exit_code[code] not in CAUGHT:
                data.exit_code_by_key[name] = None
        data.save()


def _survivors(data: SourceFileMutationData) -> Iterator[Change]:
    for name, code in data.exit_code_by_key.items():
        if status_by_exit_code[code] in CAUGHT:
            continue
        diff = get_diff_for_mutant(name, path=data.path).splitlines()[2:]
        was, becomes = (
            one_line(line[1:] for line in diff if line.startswith(sign)) for sign in "-+"
        )
        function, kind = orig_function_and_class_names_from_key(name)
        yield Change(str(data.path), f"{kind}.{function}" if kind else function, was, becomes)


if __name__ == "__main__":
    main(sys.argv[1:])
