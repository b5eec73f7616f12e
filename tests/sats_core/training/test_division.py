import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sats_core.data.batches import Batch, StepBatches
from sats_core.methods import Finetune, make_method
from sats_core.settings import StepSettings
from sats_core.training.division import SAFE, UNDIVIDED, Divider, Division
from sats_core.training.memory_use import HostMemory
from sats_core.training.ranks import ALONE, Ranks
from sats_core.training.trial import Trial
from tests.sats_core.training.rank_runs import OLD, drawn, models, trained
from tests.sats_core.training.test_ranks import Place

MIB = 2**20


@dataclass
class Machine:
    """Memory of which a step takes some, and each picture some more; less if it is recomputed.

    Attributes:
        room: bytes that are free and may be taken.
        each, recomputed: of a picture.
        fixed: of any pass.
        bursts: bytes at which a try itself runs out.
        says: what it then raises.
        tried: pictures and way of every try.
    """

    room: int
    each: int = 100 * MIB
    recomputed: int = 20 * MIB
    fixed: int = 50 * MIB
    bursts: int = 2**60
    says: Exception = field(default_factory=lambda: torch.OutOfMemoryError("CUDA out of memory"))
    tried: list[tuple[int, bool]] = field(default_factory=list)

    def takes(self, pictures: int, recompute: bool) -> int:
        return self.fixed + pictures * (self.recomputed if recompute else self.each)

    def try_out(self, pictures: int, recompute: bool) -> None:
        self.tried.append((pictures, recompute))
        if self.takes(pictures, recompute) > self.bursts:
            raise self.says

    def peak(self, run: Callable[[], None]) -> int:
        run()
        return self.takes(*self.tried[-1])

    def free(self) -> int:
        return int(self.room / SAFE) + 2


def divided(
    machine: Machine | None,
    *,
    pictures: int = 16,
    base: bool = False,
    halvings: int = 0,
    ranks: Ranks = ALONE,
    later: int = 0,
    **chosen: Any,
) -> Division:
    settings = StepSettings(batch_size=pictures, **chosen)
    tries = machine.try_out if machine else Machine(0).try_out
    return Divider(settings, pictures, base, halvings, ranks, tries, machine, later).find()


@pytest.mark.parametrize("base", [False, True])
def test_what_fits_is_not_divided(base: bool) -> None:
    machine = Machine(room=(50 + 1600) * MIB)
    assert divided(machine, base=base) == UNDIVIDED
    assert {recompute for _, recompute in machine.tried} == {False}
    assert max(pictures for pictures, _ in machine.tried) == 2


@pytest.mark.parametrize(("room", "parts"), [(1649, 2), (850, 2), (849, 3), (150, 16)])
def test_a_later_step_is_computed_in_as_few_parts_as_fit(room: int, parts: int) -> None:
    found = divided(Machine(room=room * MIB))
    assert (found.parts, found.recompute) == (parts, False)
    assert found.because is not None
    assert f"in {parts} parts, one after another: 16 pictures at once would take" in found.because
    assert "Batch norm" not in found.because


def test_where_not_one_picture_fits_activations_are_computed_again() -> None:
    found = divided(Machine(room=149 * MIB))
    assert (found.parts, found.recompute) == (4, True)  # 50 + 4 * 20 MiB
    assert found.because is not None
    assert "in 4 parts, one after another and with activations computed again" in found.because


def test_a_base_step_rather_computes_again_than_divides_what_its_norm_sees() -> None:
    found = divided(Machine(room=1000 * MIB), base=True)
    assert (found.parts, found.recompute) == (1, True)
    assert found.because is not None
    assert "is computed with activations computed again" in found.because
    assert found.because.endswith("16 pictures at once would take 1.6 GiB, 0.98 are free")
    found = divided(Machine(room=210 * MIB), base=True)
    assert (found.parts, found.recompute) == (2, True)
    assert found.because is not None
    assert "Batch norm sees the statistics of a part" in found.because


def test_a_base_step_computes_two_at_once_though_they_may_not_fit() -> None:
    assert divided(Machine(room=1), base=True).parts == 8
    assert divided(Machine(room=1), base=False).parts == 16


def test_a_try_that_runs_out_is_an_answer() -> None:
    machine = Machine(room=2**40, bursts=100 * MIB)
    found = divided(machine)
    assert (found.parts, found.recompute) == (1, True)
    assert found.because is not None
    assert found.because.endswith(": a try of 1 at once ran out of memory")
    assert (2, False) not in machine.tried
    found = divided(Machine(room=2**40, bursts=160 * MIB))
    assert (found.parts, found.recompute) == (16, False), "one fits, two do not"
    assert found.because is not None
    assert found.because.endswith(": a try of 2 at once ran out of memory")


@pytest.mark.parametrize(
    "said", ["[enforce fail] can't allocate memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED"]
)
def test_memory_runs_out_under_other_names_too(said: str) -> None:
    machine = Machine(room=2**40, bursts=100 * MIB, says=RuntimeError(said))
    assert divided(machine).recompute


def test_what_else_goes_wrong_in_a_try_is_raised() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        divided(Machine(room=2**40, bursts=100 * MIB, says=RuntimeError("shapes differ")))


def test_less_than_nothing_is_free_where_the_optimiser_takes_more_than_that() -> None:
    found = divided(Machine(room=MIB), later=300 * MIB)
    assert found.because is not None
    assert found.because.endswith(", 0 are free")


def test_what_the_settings_say_is_done_and_not_told() -> None:
    machine = Machine(room=1)
    found = divided(machine, accumulate=4, checkpoint_activations=False)
    assert found == Division(4)
    assert machine.tried == []
    assert divided(Machine(room=2**40), checkpoint_activations=True) == Division(1, True)
    assert divided(Machine(room=2**40), accumulate=3) == Division(3)


def test_what_the_settings_leave_open_is_found() -> None:
    machine = Machine(room=300 * MIB)
    found = divided(machine, accumulate=2)
    assert (found.parts, found.recompute) == (2, True)  # 8 at once fit recomputed alone
    found = divided(machine, checkpoint_activations=False)
    assert (found.parts, found.recompute) == (8, False)


def test_what_the_optimiser_takes_later_is_counted() -> None:
    room = (50 + 1600) * MIB
    assert divided(Machine(room=room), later=MIB).parts == 2


@pytest.mark.parametrize(("halvings", "parts"), [(1, 2), (2, 4), (9, 16)])
def test_where_memory_ran_out_before_half_as_many_are_computed_at_once(
    halvings: int, parts: int
) -> None:
    for machine in (None, Machine(room=2**40)):
        found = divided(machine, halvings=halvings)
        assert (found.parts, found.recompute) == (parts, True)
        assert found.because is not None
        assert found.because.endswith("memory ran out before")
    assert divided(None, halvings=halvings, checkpoint_activations=False).recompute is False


class Tighter(Ranks):
    """Along with a rank that has room for fewer pictures."""

    count = 2

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once

    def least(self, number: int) -> int:
        return min(number, self.at_once)


def test_who_has_the_least_room_decides_for_all() -> None:
    found = divided(Machine(room=2**40), ranks=Tighter(3))
    assert found.parts == 3  # of a share of 8
    assert found.because is not None
    assert found.because.endswith("another rank has no room for more")
    assert divided(Machine(room=2**40), ranks=Tighter(8)) == UNDIVIDED


def test_on_the_processor_ranks_share_its_memory() -> None:
    class Beside(Place):
        beside = 2

        def least(self, number: int) -> int:
            return number

    assert divided(Machine(room=850 * MIB), ranks=Beside(0, 2)).parts == 3  # of 8, in 425 MiB
    assert divided(Machine(room=1700 * MIB), ranks=Beside(0, 2)).parts == 1


@given(
    pictures=st.integers(2, 64),
    count=st.integers(1, 5),
    halvings=st.integers(0, 8),
    room=st.integers(0, 8000),
    base=st.booleans(),
    accumulate=st.none() | st.integers(1, 100),
)
def test_every_rank_has_a_picture_for_each_part(
    pictures: int, count: int, halvings: int, room: int, base: bool, accumulate: int | None
) -> None:
    class Some(Place):
        beside = 1

        def least(self, number: int) -> int:
            return number

    count = min(count, pictures)
    shares = [len(range(pictures)[Place(n, count).own(pictures)]) for n in range(count)]
    machine = Machine(room=room * MIB)
    some = Some(0, count)
    found = divided(
        machine, pictures=pictures, base=base, halvings=halvings, ranks=some, accumulate=accumulate
    )
    for share in shares:
        batch = Batch(torch.zeros(share, 3, 1, 1), torch.arange(share))
        parts = list(found.parts_of(batch))
        assert all(len(marks) for _, marks, _ in parts)
        assert [last for *_, last in parts] == [False] * (found.parts - 1) + [True]
        assert torch.equal(torch.cat([marks for _, marks, _ in parts]), batch.labels)


@pytest.mark.parametrize(
    "division", [Division(2), Division(3), Division(4, recompute=True), Division(1, recompute=True)]
)
@pytest.mark.parametrize("method", ["finetune", "sats", "sats_plus"])
def test_parts_learn_what_the_batch_does(method: str, division: Division, tmp_path: Path) -> None:
    whole = trained(ALONE, tmp_path / "whole", method=method)
    parts = trained(ALONE, tmp_path / "parts", method=method, division=division)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=0, atol=1e-5, msg=name)


def test_of_a_base_step_what_is_computed_again_is_the_same_and_what_is_divided_is_not(
    tmp_path: Path,
) -> None:
    whole = trained(ALONE, tmp_path / "whole", base=True)
    again = trained(ALONE, tmp_path / "again", base=True, division=Division(1, recompute=True))
    parts = trained(ALONE, tmp_path / "parts", base=True, division=Division(2))
    for name, tensor in whole.items():
        torch.testing.assert_close(again[name], tensor, rtol=0, atol=1e-5, msg=name)
    name = "head.finish.0.running_var"
    assert not torch.allclose(parts[name], whole[name], atol=1e-3)


class Tight(HostMemory):
    """This machine, of whose memory little is free."""

    room = 0

    def free(self) -> int:
        return self.room


@pytest.mark.skipif(sys.platform != "linux", reason="what is resident is Linux's to say")
@pytest.mark.parametrize("base", [False, True])
def test_what_is_found_fits_and_the_batch_would_not(base: bool) -> None:
    pictures, size = 8, 256
    model, old = models(base)
    settings = StepSettings(size=size, batch_size=pictures, method="sats")
    method = make_method(settings, model, old)
    assert isinstance(method, Finetune)
    batches = StepBatches(drawn(pictures, (0, 1 if base else OLD), 1), size, pictures, 0)
    tried = Trial(model, method, next(batches.epoch(0))(), size)
    use = Tight()
    tried(1, recompute=False)
    whole = use.peak(lambda: tried(pictures, recompute=False))
    use.room = whole // 2
    found = Divider(settings, pictures, base, 0, ALONE, tried, use, 0).find()
    assert (found.parts > 1) or found.recompute
    assert found.recompute or not base
    at_once = -(-pictures // found.parts)
    # What an allocator keeps of earlier tries is resident too: an eighth more was seen.
    assert use.peak(lambda: tried(at_once, recompute=found.recompute)) <= 1.25 * use.room < whole
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tried(2, recompute=True)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
