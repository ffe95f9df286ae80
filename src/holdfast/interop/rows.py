"""Rows of an environment in the form that TRL's trainers read."""

from __future__ import annotations

from typing import Any

from holdfast.environments.base import Environment


def demonstrations(
    environment: Environment, rule: str, *, size: int, split: str = "train", seed: int = 0
) -> list[dict[str, Any]]:
    """Return ``size`` rows ``{"prompt": messages, "completion": messages}`` for supervised fine-tuning.

    Args:
        environment: Name all rules that will be asked later among its rules, so that its splits share no problem.
        rule: The rule to learn.
        size: Number of rows.
        split, seed: Which sequence of problems.
    """
    problems = [environment.sample(rule, split, index, seed=seed) for index in range(size)]
    return [
        {
            "prompt": list(environment.prompt(problem)),
            "completion": [{"role": "assistant", "content": environment.demonstrate(problem)}],
        }
        for problem in problems
    ]


def questions(
    environment: Environment, rule: str, *, size: int, split: str = "train", seed: int = 0
) -> list[dict[str, Any]]:
    """Return ``size`` rows for GRPO: a prompt, and the columns by which `reward_function` finds the problem again."""
    return [
        {
            "prompt": list(environment.prompt(environment.sample(rule, split, index, seed=seed))),
            "rule": rule,
            "split": split,
            "index": index,
            "seed": seed,
        }
        for index in range(size)
    ]
