"""Several processes with a share of each batch learn what one learns with all of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sats_core.training.ranks import ALONE, Ranks, SeveralRanks
from tests.sats_core.training.rank_runs import CASES, models

ROOT = Path(__file__).parents[3]
SCRIPT = (sys.executable, "-m", "tests.sats_core.training.rank_runs")
GPUS = torch.cuda.device_count()
CLOSE = {**dict.fromkeys(CASES, 1e-5), "plop": 1e-4}
"""Largest difference of a weight. Local POD is the norm of a difference that is all but nothing in
the first steps: its direction, which is what the gradient has of it, is rounding's in part."""


def run(folder: Path, **environment: str) -> None:
    """Train all cases in two processes, in one of which they were trained alone before."""
    commands = [[*SCRIPT, str(folder), str(number), "2"] for number in range(2)]
    started = [
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, text=True)
        for command in commands
    ]
    try:
        assert [process.wait(600) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
            process.wait()


def weights(folder: Path, case: str, number: int, count: int) -> dict[str, Tensor]:
    return load_file(folder / f"{case}-{number}-of-{count}" / "weights.safetensors")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process and what two made of every case, on the processor."""
    folder = tmp_path_factory.mktemp("runs")
    run(folder, CUDA_VISIBLE_DEVICES="")
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_learn_what_one_process_does(case: str, runs: Path) -> None:
    alone = weights(runs, case, 0, 1)
    first, second = (weights(runs, case, number, 2) for number in range(2))
    assert [name for name, tensor in first.items() if not torch.equal(tensor, second[name])] == []
    for name, tensor in alone.items():
        torch.testing.assert_close(first[name], tensor, rtol=0, atol=CLOSE[case], msg=name)


@pytest.mark.parametrize("case", CASES)
def test_there_was_something_to_learn(case: str, runs: Path) -> None:
    learned, (model, _) = weights(runs, case, 0, 1), models(CASES[case].get("base", False))
    before = model.state_dict()
    for name in ("backbone.net.patch_embed.proj.weight", "head.mix.weight"):
        assert (learned[name] - before[name]).abs().max() > 20 * CLOSE["sats"], name


@pytest.mark.skipif(GPUS < 2, reason="needs two CUDA devices")
def test_two_gpus_learn_about_what_one_does(tmp_path: Path) -> None:
    run(tmp_path)
    for case in CASES:
        alone = weights(tmp_path, case, 0, 1)
        first, second = (weights(tmp_path, case, number, 2) for number in range(2))
        for name, tensor in alone.items():
            assert torch.equal(first[name], second[name]), (case, name)
            # Halves are rounded to bfloat16 elsewhere than wholes are.
            torch.testing.assert_close(first[name], tensor, rtol=0, atol=5e-3, msg=name)


class Place(SeveralRanks):
    """One of some ranks, without any other."""

    def __init__(self, number: int, count: int) -> None:
        self.number, self.count = number, count


@pytest.mark.parametrize(("pictures", "count"), [(16, 1), (16, 2), (16, 3), (5, 4), (2, 2)])
def test_shares_are_the_whole_batch_and_even(pictures: int, count: int) -> None:
    shares = [list(range(pictures))[Place(n, count).own(pictures)] for n in range(count)]
    assert [index for share in shares for index in share] == list(range(pictures))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    looked = [list(Place(n, count).every(range(pictures))) for n in range(count)]
    assert sorted(index for share in looked for index in share) == list(range(pictures))


def test_one_that_is_alone_asks_nobody() -> None:
    tensor, model = torch.ones(2), nn.Linear(2, 2)
    assert ALONE.total(tensor) is tensor
    assert ALONE.same(3) == ALONE.least(3) == 3
    assert (ALONE.agree(True), ALONE.agree(False)) == (True, False)
    assert ALONE.joined(model, print) is print  # type: ignore[arg-type]
    assert (ALONE.leads, ALONE.count, ALONE.own(5)) == (True, 1, slice(0, 5))


class Another(Ranks):
    """Alone, but told of another rank's number."""

    def __init__(self, told: int) -> None:
        self.told = told

    def least(self, number: int) -> int:
        return min(number, self.told if number >= 0 else -self.told)


@pytest.mark.parametrize("told", [0, 3])
def test_ranks_that_resumed_at_different_epochs_do_not_go_on(told: int) -> None:
    assert Another(2).same(2) == 2
    with pytest.raises(RuntimeError, match="rank 0 has 2"):
        Another(told).same(2)
