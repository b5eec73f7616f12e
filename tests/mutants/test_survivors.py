"""The list of survivors is of the code as it stands; whether it is whole says `make mutants`."""

from tests.mutants.survivors import ROOT, accepted, one_line


def test_every_survivor_is_of_a_line_that_is_there_and_says_why() -> None:
    texts = {
        file: one_line((ROOT / file).read_text().splitlines())
        for file in {change.file for change in accepted()}
    }
    gone = [str(change) for change in accepted() if change.was not in texts[change.file]]
    assert not gone
    assert all(accepted().values())
