"""Selection, rows and rewards for scripts of others."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tiny_models
from holdfast.environments.general_points import GeneralPoints
from holdfast.environments.navigation import Navigation
from holdfast.errors import DataError, UnknownName
from holdfast.interop import demonstrations, questions, reward_function, select
from holdfast.records import Outcome

WORLD = GeneralPoints(prompt_style="terse", answer_format="values_formula")
EXAMPLE = Path(__file__).parents[2] / "examples" / "trl_selection_dft_suite.py"


def test_selecting_attention_leaves_gradients_on_attention_alone():
    model = tiny_models.build("llama")
    selected = select(model, "attention")
    learning = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learning == set(selected.names)
    assert all("self_attn" in name for name in learning)


def test_a_typo_selects_nothing_and_says_so():
    with pytest.raises(UnknownName, match='Did you mean "attention"'):
        select(tiny_models.build("llama"), "attenion")


def test_demonstrations_are_correct_and_in_the_form_of_trl():
    rows = demonstrations(WORLD, "faces_as_10", size=5)
    for index, row in enumerate(rows):
        assert row["prompt"][-1]["role"] == "user"
        problem = WORLD.sample("faces_as_10", "train", index, seed=0)
        assert WORLD.verify(problem, row["completion"][0]["content"]).outcome is Outcome.CORRECT


@pytest.mark.parametrize("conversational", [True, False], ids=["messages", "text"])
def test_a_reward_is_the_verdict_on_the_problem_of_its_own_row(conversational):
    rows = questions(WORLD, "faces_as_11_12_13", size=3)
    right = [row["completion"] for row in demonstrations(WORLD, "faces_as_11_12_13", size=3)]
    completions = [right[0], right[2], right[2]]
    if not conversational:
        completions = [completion[0]["content"] for completion in completions]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    rewards = reward_function(WORLD)(
        prompts=columns.pop("prompt"), completions=completions, completion_ids=[[]] * 3, trainer_state=None, **columns
    )
    assert rewards[0] == rewards[2] > rewards[1]


def test_rows_without_their_columns_are_refused():
    with pytest.raises(DataError, match=r"holdfast\.interop\.questions"):
        reward_function(WORLD)(prompts=["a"], completions=["b"])


@pytest.mark.slow
def test_the_trl_example_runs_and_scores_the_ood_suite(tmp_path):
    done = subprocess.run([sys.executable, str(EXAMPLE)], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    steps = re.findall(r"'eval_ood_success': [\d.]+.*'step': (\d+)", done.stdout)
    assert steps == ["0", "10", "20"]


def test_the_trl_example_is_as_short_as_it_claims():
    code = [
        line for line in EXAMPLE.read_text().split('"""', 2)[2].splitlines() if line and not line.startswith("from")
    ]
    statements = [line for line in code if not line.startswith((" ", ")", "#"))]
    assert len(statements) <= 12


def test_rows_of_a_route_are_its_points_and_each_is_rewarded_at_its_own() -> None:
    environment = Navigation(prompt_style="terse", answer_format="action")
    rows = questions(environment, "absolute", size=2)
    shown = demonstrations(environment, "absolute", size=2)
    assert len(rows) == len(shown) > 4
    said = [row["completion"][0]["content"] for row in shown]
    columns = {name: [row[name] for row in rows] for name in ("rule", "split", "index", "seed", "step")}
    assert reward_function(environment)([], said, **columns) == [1.0] * len(rows)
    assert sum(reward_function(environment)([], ["stop()"] * len(rows), **columns)) < len(rows)
