"""Which crew there is; what becomes of one that is several: tests/worker/test_ranks.py."""

from pathlib import Path

import pytest
import torch

from sats_core.data.cache import PictureCache
from sats_core.events import Event, FailedEvent, WarningEvent
from sats_core.training.crew import RankLostError, crew
from sats_core.training.failures import RankFailedError, failure_of
from sats_core.training.ranks import ALONE
from tests.sats_core.training.conftest import make_job


@pytest.mark.parametrize(
    ("devices", "gpus", "batch_size", "said"),
    [
        (1, 0, 16, None),
        (2, 0, 1, None),
        (1, 8, 16, None),
        (4, 1, 16, "4 devices are asked for, 1 are there"),
    ],
)
def test_one_that_has_nobody_to_share_with_starts_nobody(
    devices: int,
    gpus: int,
    batch_size: int,
    said: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    job, told = make_job(tmp_path, tmp_path / "none.zip", ("disc",), devices=devices), list[Event]()
    with (
        PictureCache(tmp_path / "pictures.raw", 32) as cache,
        crew(job, cache, cache, told.append, batch_size) as ranks,
    ):
        assert ranks is ALONE
    assert told == ([WarningEvent(message=said)] if said else [])


def test_a_lost_rank_says_how_and_is_no_failure_that_explains_itself() -> None:
    killed, ended = RankLostError(2, -9), RankLostError(1, 1)
    assert (str(killed), killed.killed) == (
        "rank 2 was killed by signal 9 in the middle of the step",
        True,
    )
    assert (str(ended), ended.killed) == (
        "rank 1 ended with status 1 in the middle of the step",
        False,
    )
    assert failure_of(killed) is None


def test_what_a_rank_said_is_the_steps_failure() -> None:
    said = FailedEvent(cause="disk", message="the disk is full: x")
    assert failure_of(RankFailedError(said)) == said
