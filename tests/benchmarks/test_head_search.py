"""Heads whose operations are looked for: what they compute, what is learned, what is written."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import head_search
from benchmarks.head_cells import ALL_MLP, CANDIDATES, EDGES, NAMES, CellHead, SearchHead
from sats_core.models.head import AllMlpHead
from tests.fixtures.backbones import TINY

CHANNELS, WIDTH = (3, 4, 5, 6), 8


def stages(seed: int = 0, batch: int = 2) -> list[Tensor]:
    chance = torch.Generator().manual_seed(seed)
    sides = (8, 4, 2, 1)
    return [
        torch.randn(batch, channels, side, side, generator=chance)
        for channels, side in zip(CHANNELS, sides, strict=True)
    ]


def search_head(warm_up: int = 0, strengths: Tensor | None = None) -> SearchHead:
    torch.manual_seed(0)
    head = SearchHead(CHANNELS, WIDTH, warm_up, seed=1)
    if strengths is not None:
        head.strengths.data.copy_(strengths)
    return head


def derived(head: SearchHead, choices: Sequence[str]) -> CellHead:
    """The head that is left when the other candidates are taken out, by names of weights."""
    made = CellHead(CHANNELS, WIDTH, choices)
    kept = {}
    for name in made.state_dict():
        first, *rest = name.split(".")
        if first == "edges":
            edge, *inside = rest
            rest = [edge, str(NAMES.index(choices[int(edge)])), *inside]
        kept[name] = head.state_dict()[".".join([first, *rest])]
    made.load_state_dict(kept)
    return made


def test_identities_make_the_all_mlp_head() -> None:
    torch.manual_seed(0)
    ours = CellHead(CHANNELS, WIDTH, ALL_MLP)
    theirs = AllMlpHead(CHANNELS, WIDTH)
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(stages()), theirs(stages()))


def test_training_takes_the_operations_too() -> None:
    """It looks at a head by `observe`, evaluation and replay by calling it."""
    torch.manual_seed(0)
    head = CellHead(CHANNELS, WIDTH, [NAMES[-1]] * EDGES).eval()
    found = head.observe(stages()).features
    assert torch.equal(found, head(stages()))
    assert not torch.allclose(found, head.merged(stages()))
    search = search_head().train()
    search.observe(stages())
    assert search.passes == 1


@pytest.mark.parametrize("seed", range(3))
def test_nothing_changes_when_the_other_candidates_go(seed: int) -> None:
    strengths = torch.randn(EDGES, len(NAMES), generator=torch.Generator().manual_seed(seed))
    head = search_head(strengths=strengths)
    for number in range(4):
        head.train()(stages(number))  # norms have seen something
    head.eval()
    left = derived(head, head.choices()).eval()
    assert len(set(head.choices())) > 1
    torch.testing.assert_close(head(stages(9)), left(stages(9)), rtol=0, atol=0)


def test_a_relaxed_edge_is_the_weighted_sum_of_its_candidates() -> None:
    strengths = torch.rand(EDGES, len(NAMES)) / 50
    head = search_head(strengths=strengths).eval()
    features = torch.randn(2, WIDTH, 4, 4)
    head._relaxed = 2
    exponents = [(50 * value).exp() for value in strengths[2]]
    expected = torch.zeros_like(features)
    for exponent, candidate in zip(exponents, head.edges[2], strict=True):
        expected += exponent / sum(exponents) * candidate(features)
    torch.testing.assert_close(head.on_edge(2, features), expected)


def test_one_edge_is_learned_at_a_time_and_none_in_the_warm_up() -> None:
    head = search_head(warm_up=3).train()
    seen = set()
    for number in range(43):
        head.zero_grad(set_to_none=True)
        head(stages(number)).square().sum().backward()
        if number < 3:
            assert head.strengths.grad is None
            continue
        assert head.strengths.grad is not None
        edges = head.strengths.grad.abs().sum(dim=1).nonzero().flatten().tolist()
        assert edges == [head._relaxed]
        seen.update(edges)
    assert seen == set(range(EDGES))


def test_strengths_follow_what_helps() -> None:
    """All weights stand; what is asked for was made with other operations than the first ones."""
    head = search_head().train()
    wanted = ("identity", "context", "identity", "identity", "depth-wise 3x3")
    teacher = derived(head, wanted).train()
    for weight in head.parameters():
        weight.requires_grad_(weight is head.strengths)
    optimizer = torch.optim.Adam([head.strengths], lr=2e-3)
    for number in range(200):
        given = stages(number, batch=8)
        with torch.no_grad():
            target = teacher(given)
        optimizer.zero_grad()
        (head(given) - target).square().mean().backward()
        optimizer.step()
    assert head.choices()[4] == wanted[4]
    assert head.choices()[1] == wanted[1]


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_keeps_the_shape_and_hands_gradients_on(name: str) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, WIDTH, 5, 6, requires_grad=True)
    made = CANDIDATES[name](WIDTH)(features)
    assert made.shape == features.shape
    made.square().sum().backward()
    assert features.grad is not None
    assert (features.grad != 0).any()
    reaches = {"identity": 1, "1x1": 1, "depth-wise 3x3": 9, "dilated 3x3": 9, "context": 49}
    assert _reach(name) == reaches[name]


def _reach(name: str) -> int:
    """How many pixels of a channel an output pixel in the middle of 7 x 7 hangs on."""
    torch.manual_seed(0)
    operation = CANDIDATES[name](WIDTH).eval()
    features = torch.rand(1, WIDTH, 7, 7, requires_grad=True)
    operation(features)[0, 0, 3, 3].backward()
    assert features.grad is not None
    return int((features.grad[0] != 0).any(dim=0).sum())


def test_differences_are_of_the_same_seed() -> None:
    runs = [
        {"head": head, "seed": seed, "miou": miou}
        for head, scores in (("all-MLP", (0.5, 0.6)), ("found", (0.6, 0.6)), ("by lot", (0.4, 0.5)))
        for seed, miou in enumerate(scores)
    ]
    found = head_search.differences(runs)
    assert found["found"]["mean"] == pytest.approx(0.05)
    assert found["found"]["low"] < 0 < found["found"]["high"]
    assert found["by lot"]["mean"] == pytest.approx(-0.1)


def test_a_search_and_what_was_found(tmp_path: Path) -> None:
    asked = {"backbone": TINY, "size": 32, "pictures": 30, "validation": 4, "epochs": 2}
    head_search.main(**asked, seeds="0", threads=1, results=tmp_path)
    record = json.loads((tmp_path / "head_search.json").read_text())
    (search,) = record["searches"]
    assert [run["head"] for run in record["runs"]] == list(head_search.HEADS)
    assert record["runs"][1]["choices"] == search["choices"]
    most = max(max(shares.values()) for shares in search["shares"])
    assert most > 1 / len(NAMES) + 0.005, "the search has learned"
    assert all(0 <= run["miou"] <= 1 and run["forward_ms"] > 0 for run in record["runs"])
    assert record["runs"][0]["head_parameters"] <= record["runs"][1]["head_parameters"]
    assert str(tmp_path) not in json.dumps(record)
