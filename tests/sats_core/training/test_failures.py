"""Real errors of a machine that has too little, told from wrong input."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from sats_core.errors import DatasetError, ExportError, Issue, ModelError
from sats_core.training.failures import failure_of


def no_memory_for_python() -> None:
    bytearray(2**62)


def no_memory_for_numpy() -> None:
    np.empty(2**57)


def no_memory_for_torch() -> None:
    torch.empty(2**60)


def no_memory_on_the_device() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def no_memory_on_the_device_for_the_driver() -> None:
    raise RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA")


def full_disk() -> None:
    with Path("/dev/full").open("wb") as file:
        file.write(b"x")


def full_disk_under_a_library() -> None:
    raise SafetensorError(
        "Error while serializing: I/O error: No space left on device (os error 28)"
    )


def full_disk_taken_for_damaged_files() -> None:
    try:
        full_disk()
    except OSError as error:
        raise ModelError("the version cannot be loaded") from error


def an_export_that_runs_out_of_memory() -> None:
    try:
        no_memory_for_torch()
    except RuntimeError as error:
        raise ExportError("the graph cannot be made") from error


@pytest.mark.parametrize(
    ("cause", "happens", "kind"),
    [
        ("memory", no_memory_for_python, MemoryError),
        ("memory", no_memory_for_numpy, MemoryError),
        ("memory", no_memory_for_torch, RuntimeError),
        ("memory", no_memory_on_the_device, torch.OutOfMemoryError),
        ("memory", no_memory_on_the_device_for_the_driver, RuntimeError),
        ("memory", an_export_that_runs_out_of_memory, ExportError),
        ("disk", full_disk, OSError),
        ("disk", full_disk_under_a_library, SafetensorError),
        ("disk", full_disk_taken_for_damaged_files, ModelError),
    ],
)
def test_the_machine_is_named(cause, happens, kind):
    with pytest.raises(kind) as raised:
        happens()
    failure = failure_of(raised.value)
    assert failure is not None
    assert failure.cause == cause


def test_wrong_input_is_wrong_input_whatever_it_is_called():
    issue = Issue("broken", "No space left on device.jpg", "cat")
    failure = failure_of(DatasetError("No space left on device.jpg cannot be read", [issue]))
    assert failure is not None
    assert (failure.cause, failure.faults[0].file) == ("input", issue.file)


def test_a_failing_export_is_told_from_wrong_input():
    failure = failure_of(ExportError("no graph"))
    assert failure is not None
    assert failure.cause == "export"


def test_a_bug_is_none_of_them():
    assert failure_of(ZeroDivisionError("division by zero")) is None
