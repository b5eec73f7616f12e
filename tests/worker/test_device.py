"""What a worker trains on: found out by a process of its own, where there may be a GPU at all."""

import os
import sys

import pytest

from app.db import DeviceKind
from worker import device as devices
from worker.device import NoSuchDeviceError, find_device, visible

HERE = [sys.executable]
NOWHERE = ("/nowhere/at/all",)


def asking(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def says(*memory: int) -> list[str]:
    gpus = [
        {"name": f"GPU {number}", "memory_bytes": mib * 2**20} for number, mib in enumerate(memory)
    ]
    return asking(f"import json; print(json.dumps({gpus!r}))")


@pytest.mark.parametrize(
    ("wanted", "before", "after"),
    [
        ("auto", None, None),
        ("auto", "2,3", "2,3"),
        ("cuda", "2,3", "2,3"),
        ("cpu", None, ""),
        ("cpu", "2,3", ""),
        ("cuda:1", None, "1"),
        ("cuda:1", "2,3", "3"),
        ("cuda:2", "2,3", ""),
        ("cuda:1", "", ""),  # empty: no GPU is to be seen, and none is
        ("cuda:0", "", ""),
        ("auto", "", ""),
        ("cuda:0", "GPU-8f3a,GPU-11b2", "GPU-8f3a"),
    ],
)
def test_a_process_sees_what_is_named_and_no_other(wanted, before, after):
    environment = {} if before is None else {devices.VISIBLE: before}
    environment |= visible(wanted, environment)
    assert environment.get(devices.VISIBLE) == after


def test_without_a_driver_it_is_the_cpu_and_nobody_is_asked():
    found = find_device("auto", os.environ, asking("raise SystemExit('asked')"), NOWHERE)
    assert (found.has.device, found.count) == (DeviceKind.CPU, 1)
    assert found.name
    assert found.has.memory_mib > 100


def test_the_smallest_of_several_gpus_counts():
    found = find_device("auto", os.environ, says(81_559, 40_000), HERE)
    assert (found.name, found.count) == ("GPU 0", 2)
    assert (found.has.device, found.has.memory_mib) == (DeviceKind.CUDA, 40_000)


@pytest.mark.parametrize("wanted", ["cuda", "cuda:1"])
def test_who_names_a_gpu_that_is_not_there_is_told(wanted):
    with pytest.raises(NoSuchDeviceError, match=f"SATS_WORKER_DEVICE is {wanted},"):
        find_device(wanted, os.environ, says(), NOWHERE)


@pytest.mark.parametrize(
    "answer", ["print('no list')", "raise SystemExit(3)", "print('[{\"name\": 1}]')"]
)
def test_a_process_that_cannot_say_leaves_the_cpu(answer):
    found = find_device("auto", os.environ, asking(answer), HERE)
    assert found.has.device == DeviceKind.CPU


def test_a_container_may_have_less_than_its_machine(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(devices, "LIMITS", (limit, tmp_path / "none"))
    whole = find_device("cpu", os.environ).has.memory_mib
    limit.write_text("max\n")
    assert find_device("cpu", os.environ).has.memory_mib == whole
    limit.write_text(f"{64 * 2**20}\n")
    assert find_device("cpu", os.environ).has.memory_mib == 64


def test_torch_is_asked_in_a_process_that_prints_json():
    """There may be no GPU here; the answer is a list in any case."""
    assert devices._gpus(devices.ASKING, os.environ | {devices.VISIBLE: ""}) == []
