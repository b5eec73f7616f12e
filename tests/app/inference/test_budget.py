import pytest

from app.inference.budget import Budget, FullError, OverBudgetError


def test_what_is_held_is_given_back() -> None:
    budget = Budget(10)
    with budget.hold(4) as share:
        share.grow(3)
        assert (share.amount, budget.free) == (7, 3)
        with pytest.raises(FullError), budget.hold(4):
            pass
        with pytest.raises(OverBudgetError):
            share.grow(4)
    assert budget.free == 10
    with pytest.raises(OverBudgetError), budget.hold(11):
        pass
    with pytest.raises(KeyError), budget.hold(10):
        raise KeyError
    assert budget.free == 10
