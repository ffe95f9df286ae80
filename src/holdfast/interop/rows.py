"""Rows of an environment in the form that TRL's trainers read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.environments.base import Environment
from holdfast.records import Message


def demonstrations(
    environment: Environment, rule: str, *, size: int, split: str = "train", seed: int = 0
) -> list[dict[str, Any]]:
    """Return rows ``{"prompt": messages, "completion": messages}`` for supervised fine-tuning.

    Where pictures are asked about, each row also holds them under ``images``, drawn, as TRL's trainers take them.

    Args:
        environment: Name all rules that will be asked later among its rules, so that its splits share no problem.
        rule: The rule to learn.
        size: Number of problems, each a row; of problems of several steps there is a row a step.
        split, seed: Which sequence of problems.
    """
    return [
        {
            **_asked(environment.prompt(step)),
            "completion": [{"role": "assistant", "content": environment.demonstrate(step)}],
        }
        for index in range(size)
        for step in environment.steps(environment.sample(rule, split, index, seed=seed))
    ]


def questions(
    environment: Environment, rule: str, *, size: int, split: str = "train", seed: int = 0
) -> list[dict[str, Any]]:
    """Return the rows of ``size`` problems for GRPO: a prompt, and the columns by which `reward_function` finds it.

    Pictures are under ``images``, as in `demonstrations`.
    """
    return [
        {
            **_asked(environment.prompt(step)),
            "rule": rule,
            "split": split,
            "index": index,
            "seed": seed,
            "step": number,
        }
        for index in range(size)
        for number, step in enumerate(environment.steps(environment.sample(rule, split, index, seed=seed)))
    ]


def episodes(
    environment: Environment, rule: str, *, size: int, split: str = "train", seed: int = 0
) -> list[dict[str, Any]]:
    """Return the rows of ``size`` whole problems for `environment_factory`: a prompt, and what finds the problem again.

    Of a problem of several steps the row asks the first, and playing it asks the others. Text only.
    """
    problems = [environment.sample(rule, split, index, seed=seed) for index in range(size)]
    return [
        {
            **_asked(environment.begin(problem).messages),
            "rule": rule,
            "split": split,
            "index": problem.index,
            "seed": seed,
        }
        for problem in problems
    ]


def _asked(messages: Sequence[Message]) -> dict[str, Any]:
    """Return the prompt, and the pictures of its messages, which TRL puts before the first user message."""
    prompt = [{"role": message["role"], "content": message["content"]} for message in messages]
    shown = [picture.render() for message in messages for picture in message.get("images", ())]
    return {"prompt": prompt, "images": shown} if shown else {"prompt": prompt}
