"""What a task needs and what workers have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.db import DeviceKind
from app.workers.needs import Needs, Resources

CPU = Resources(DeviceKind.CPU, 16_000)
GPU = Resources(DeviceKind.CUDA, 24_000)


@pytest.mark.parametrize(
    ("spec", "living", "missing"),
    [
        ({}, [], "no worker is alive"),
        ({"device": "cuda"}, [], "no worker is alive"),
        ({}, [CPU], None),
        ({"device": "any", "min_memory_mib": None}, [GPU], None),
        ({"device": "cuda"}, [CPU], "no worker with a GPU is alive"),
        ({"device": "cpu"}, [GPU], "no worker that trains on a CPU is alive"),
        ({"device": "cuda"}, [CPU, GPU], None),
        ({"min_memory_mib": 20_000}, [CPU], "no worker has 20000 MiB of memory"),
        ({"min_memory_mib": 20_000}, [CPU, GPU], None),
        (
            {"device": "cuda", "min_memory_mib": 40_000},
            [CPU, GPU],
            "no worker with a GPU has 40000 MiB of memory",
        ),
        (
            {"device": "cpu", "min_memory_mib": 20_000},
            [CPU, GPU],
            "no worker that trains on a CPU has 20000 MiB of memory",
        ),
    ],
)
def test_who_is_missing_is_said(spec, living, missing):
    assert Needs.of(spec).unmet(living) == missing


resources = st.builds(Resources, st.sampled_from(DeviceKind), st.integers(0, 100_000))
needs = st.builds(Needs, st.sampled_from([None, *DeviceKind]), st.integers(0, 100_000))


@given(needs, st.sets(resources, max_size=4))
def test_somebody_is_missing_where_nobody_alive_may_take_it(wanted, living):
    assert (wanted.unmet(living) is None) == any(wanted.met_by(one) for one in living)


@given(resources, resources)
def test_workers_with_about_the_same_memory_share_a_lane(one, other):
    small, large = sorted((one.memory_mib, other.memory_mib))
    if one.pool == other.pool:
        assert one.device == other.device
        assert large < 2 * small or large == 0


@given(st.sampled_from(DeviceKind), st.integers(0, 16), st.data())
def test_what_a_machine_keeps_for_itself_makes_no_lane_of_its_own(device, power, data):
    memory = st.integers(2**power, 2 ** (power + 1) - 1)
    pools = {Resources(device, data.draw(memory)).pool for _ in range(3)}
    assert pools == {f"{device} {2**power}"}
