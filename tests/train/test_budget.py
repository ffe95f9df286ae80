"""Budgets add up and can be matched."""

from __future__ import annotations

import json

import pytest

from holdfast.errors import UserError
from holdfast.train.budget import FIELD, Spent, plan_steps


def test_amounts_add_up_and_unnamed_fields_stay() -> None:
    spent = Spent(steps=1, flops=10).plus({"steps": 1, "tokens": 7}).plus(Spent(flops=2**70))
    assert spent == Spent(steps=2, flops=10 + 2**70, tokens=7)


def test_what_is_spent_survives_json_exactly() -> None:
    spent = Spent(steps=3, flops=2**80 + 1, flops_6nd=3, flops_trainable=4, tokens=5, target_tokens=6, examples=7)
    assert Spent.from_json(json.loads(json.dumps(spent.to_json()))) == spent


@pytest.mark.parametrize("more", [{"flop": 1}, {"flops": -1}, {"flops": float("nan")}])
def test_a_misspelled_or_negative_amount_is_refused(more: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="cannot spend"):
        Spent().plus(more)


@pytest.mark.parametrize(("match", "steps"), [("steps", 100), ("flops", 150), ("6nd", 50), ("trainable", 1000)])
def test_an_arm_gets_as_many_steps_as_make_its_total_the_references(match: str, steps: int) -> None:
    reference = Spent(steps=100, flops=600, flops_6nd=500, flops_trainable=1000)
    arm = Spent(steps=1, flops=4, flops_6nd=10, flops_trainable=1)
    assert plan_steps(match, reference, arm) == steps  # type: ignore[arg-type]


@pytest.mark.parametrize("match", FIELD)
def test_a_run_matched_with_itself_gets_its_own_steps(match: str) -> None:
    step = Spent(steps=1, flops=7, flops_6nd=9, flops_trainable=3)
    run = Spent(**{name: 41 * amount for name, amount in step.to_json().items()})
    assert plan_steps(match, run, step) == 41  # type: ignore[arg-type]


def test_matching_by_what_nobody_spends_is_refused() -> None:
    with pytest.raises(UserError, match="spends 0"):
        plan_steps("flops", Spent(steps=5), Spent(steps=1))
    with pytest.raises(ValueError, match="known"):
        plan_steps("seconds", Spent(steps=5), Spent(steps=1))  # type: ignore[arg-type]
