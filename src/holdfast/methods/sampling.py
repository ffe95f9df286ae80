"""Options that all methods have in common that let the model answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from holdfast.recipe import Decoding


@dataclass(frozen=True)
class Sampling:
    """How a method draws answers, and what it counts as good.

    Args:
        reward: ``success``: 1 for a correct reply, else 0. ``verdict``: the environment's own reward.
        attempts: Replies a question, each after the first with feedback.
        temperature, top_p, max_new_tokens: Of the answers, under their usual names.
    """

    reward: Literal["success", "verdict"] = "success"
    attempts: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 128

    def __post_init__(self) -> None:
        self.at_least(1, "attempts", "max_new_tokens")
        if self.reward not in ("success", "verdict"):
            raise ValueError(f"reward must be success or verdict, got {self.reward!r}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}: greedy answers are all alike")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")

    @property
    def decoding(self) -> Decoding:
        """How answers are drawn."""
        return Decoding(temperature=self.temperature, top_p=self.top_p, max_new_tokens=self.max_new_tokens)

    def at_least(self, least: float, *names: str) -> None:
        """Raise if one of these options is smaller.

        Raises:
            ValueError: naming the option.
        """
        for name in names:
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Playing(Sampling, ABC):
    """Options of methods that learn from what the model says while it learns.

    Args:
        num_generations: Episodes of a problem in a rollout.
        reward, attempts, temperature, top_p, max_new_tokens: See `Sampling`.
    """

    num_generations: int = 1

    @property
    @abstractmethod
    def passes(self) -> int:
        """How often a rollout is learned from."""

    @property
    @abstractmethod
    def steps_a_pass(self) -> int:
        """Optimizer steps of one pass over a rollout."""

    @property
    @abstractmethod
    def asks_base(self) -> bool:
        """Whether the untrained model has to be there."""

    @property
    def scores_first(self) -> bool:
        """Whether replies are scored before they are learned from: a second step on them needs to know the first."""
        return self.passes * self.steps_a_pass > 1


@dataclass(frozen=True)
class Drawing(Sampling):
    """Options of methods that draw answers once, from the untrained model, and learn from those.

    Args:
        problems: Of the data's problems, how many are asked: the first in the run's order.
        samples: Answers of each.
        reward, attempts, temperature, top_p, max_new_tokens: See `Sampling`.
    """

    problems: int = 512
    samples: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "problems", "samples")
