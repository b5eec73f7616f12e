import sys
from pathlib import Path

import pytest
import torch

from sats_core.training import memory_use
from sats_core.training.memory_use import CudaMemory, HostMemory
from tests.fixtures.gpu import on_gpu

MIB = 2**20
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="what is resident is Linux's to say")


def take(mib: int, device: str = "cpu") -> None:
    """Take memory, use it, give it back."""
    torch.ones(mib * MIB, dtype=torch.uint8, device=device)


@LINUX
def test_what_is_taken_for_a_moment_is_seen_though_it_was_taken_before() -> None:
    use = HostMemory()
    for _ in range(2):
        # The kernel counts pages in heaps of 64 a thread.
        assert 60 * MIB <= use.peak(lambda: take(64)) < 96 * MIB
        assert use.peak(lambda: None) < 16 * MIB


@LINUX
def test_no_more_is_free_than_there_is() -> None:
    pages = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < HostMemory().free() <= pages


CONTAINERS = {
    "cgroups 2": ("memory.max", "memory.current", "memory.stat"),
    "cgroups 1": (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
    ),
}


@LINUX
@pytest.mark.parametrize("names", CONTAINERS.values(), ids=CONTAINERS)
@pytest.mark.parametrize(
    ("limit", "free"), [("1000000", 1_000_000 - 600_000 + 200_000), ("max", None)]
)
def test_a_containers_limit_counts_and_its_file_cache_does_not(
    names: tuple[str, str, str],
    limit: str,
    free: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_use, "CGROUP", tmp_path)
    whole = HostMemory().free()
    (tmp_path / names[0]).parent.mkdir(exist_ok=True)
    for name, text in zip(names, (limit, "600000", "anon 1\ninactive_file 200000\n"), strict=True):
        (tmp_path / name).write_text(text + "\n")
    found = HostMemory().free()
    assert found == (free if free is not None else pytest.approx(whole, rel=0.5))


def test_where_nobody_says_what_is_resident_nothing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_use, "PROC", tmp_path)
    assert memory_use.memory_use(torch.device("cpu")) is None


@on_gpu
def test_on_a_gpu_what_torch_allocates_is_seen() -> None:
    use = CudaMemory()
    take(1, "cuda")
    assert 64 * MIB <= use.peak(lambda: take(64, "cuda")) < 80 * MIB
    free, whole = torch.cuda.mem_get_info()
    assert free <= use.free() <= whole
