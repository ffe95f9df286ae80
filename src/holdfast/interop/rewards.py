"""An environment as a reward function of TRL's GRPO and RLOO trainers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from holdfast.environments.base import Environment
from holdfast.errors import DataError

Completion = str | Sequence[Mapping[str, str]]
COLUMNS = ("rule", "split", "index", "seed", "step")


def reward_function(environment: Environment) -> Callable[..., list[float]]:
    """Return ``f(prompts, completions, **columns) -> list[float]`` that gives each completion its verdict's reward.

    The rows must be those of `holdfast.interop.questions` of the same environment.

    Raises:
        DataError: when the rows lack the columns by which a problem is found again.

    Example:
        >>> trainer = GRPOTrainer(model, reward_funcs=reward_function(environment))   # doctest: +SKIP
    """

    def reward(
        prompts: Sequence[object],  # noqa: ARG001 - TRL passes it by name
        completions: Sequence[Completion],
        **columns: object,
    ) -> list[float]:
        missing = [name for name in COLUMNS if name not in columns]
        if missing:
            raise DataError(f"the rows lack {', '.join(missing)}; make them with holdfast.interop.questions")
        found: list[Sequence[object]] = []
        for name in COLUMNS:
            values = columns[name]
            assert isinstance(values, Sequence)
            found.append(values)
        rewards = []
        for completion, rule, split, index, seed, step in zip(completions, *found, strict=True):
            problem = environment.sample(str(rule), str(split), int(str(index)), seed=int(str(seed)))
            asked = environment.steps(problem)[int(str(step))]
            rewards.append(environment.verify(asked, _text(completion)).reward)
        return rewards

    reward.__name__ = f"{environment.name}_reward"
    return reward


def _text(completion: Completion) -> str:
    return completion if isinstance(completion, str) else completion[-1]["content"]
