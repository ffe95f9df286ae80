"""What a study shows where there is no terminal: starts, steps and ends of its runs, and none of their other words."""

from __future__ import annotations

import pytest

from holdfast.cli.studying import Board, jobs_of, title
from holdfast.errors import UserError
from holdfast.recipe import Recipe
from holdfast.study import Arm, Outcome

RECIPE = Recipe.model_validate(
    {"model_name_or_path": "a/b", "data": {"path": "x"}, "budget": {"steps": 1}, "learning_rate": 1}
)


def test_a_study_is_told_in_plain_lines() -> None:
    said = list[str]()
    seconds = iter([10.0, 75.0])
    board = Board(2, write=said.append, clock=lambda: next(seconds))
    one, two = (Arm(name, {}, 3, RECIPE, name) for name in ("mlp", "full"))
    board.ended(Outcome(one, "finished", skipped=True))
    board.started(two, going_on=True)
    board.heard(two, "a row of the data")
    board.heard(two, "step 1/4  loss 2")
    board.ended(Outcome(two, "failed"))
    assert said == [
        "[mlp seed 3] finished before (1 of 2)",
        "[full seed 3] goes on (full)",
        "[full seed 3] step 1/4  loss 2",
        "[full seed 3] failed in 65 s (2 of 2)",
    ]
    assert title(one) == "mlp seed 3"


def test_jobs_are_a_number_or_auto() -> None:
    assert [jobs_of(None, "auto"), jobs_of(None, 3), jobs_of("4", "auto"), jobs_of("auto", 3)] == ["auto", 3, 4, "auto"]
    for wrong in ("0", "-1", "many", "1.5"):
        with pytest.raises(UserError, match="write a number from 1 on, or auto"):
            jobs_of(wrong, "auto")
