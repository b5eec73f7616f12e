from typing import Any

import pytest
import torch

from sats_core.training.loop import CPU_AUTOCAST_FROM, autocast


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What torch was asked to cast to, whatever machine this is."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        torch, "autocast", lambda device, dtype, enabled: calls.append((device, dtype, enabled))
    )
    return calls


@pytest.mark.parametrize("able", [True, False])
def test_a_gpu_that_only_emulates_bfloat16_computes_in_float32(
    able: bool, asked: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_supported(including_emulation: bool = True) -> bool:
        return able or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    autocast(torch.device("cuda"), 32)
    assert asked == [("cuda", torch.bfloat16, able)]


@pytest.mark.parametrize(("avx", "amx"), [(True, False), (False, True), (False, False)])
def test_a_cpu_casts_large_crops_where_it_has_the_instructions(
    avx: bool, amx: bool, asked: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    for size in (CPU_AUTOCAST_FROM - 32, CPU_AUTOCAST_FROM):
        autocast(torch.device("cpu"), size)
    assert [enabled for _, _, enabled in asked] == [False, avx or amx]
