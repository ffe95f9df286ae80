"""An environment for TRL's ``GRPOTrainer(environment_factory=...)``: the model answers through a tool, turn by turn.

TRL makes one object a rollout, calls its ``reset`` with the row's columns, offers its other public methods to the model
as tools, and hands the objects to the reward functions. Checked against TRL 1.16, where this interface is experimental.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from holdfast.environments.base import Environment, Episode
from holdfast.errors import DataError
from holdfast.interop.rewards import Completion

NEEDED = ("rule", "split", "index", "seed")


def environment_factory(environment: Environment, *, attempts: int = 1) -> Callable[[], Play]:
    """Return what `GRPOTrainer` takes as ``environment_factory``. Score with `episode_reward`.

    The rows are those of `holdfast.interop.episodes` (whole problems: a route is walked to its end) or
    `holdfast.interop.questions` (single questions). The chat template must know tools, as Qwen's does.

    Args:
        environment: Asks and judges; text only.
        attempts: Answers to one question; after each that is wrong the model hears why.

    Example:
        >>> GRPOTrainer(model, reward_funcs=episode_reward, train_dataset=rows,
        ...             environment_factory=environment_factory(world))              # doctest: +SKIP
    """
    return lambda: Play(environment, attempts=attempts)


def episode_reward(
    prompts: Sequence[object],  # noqa: ARG001 - TRL passes it by name
    completions: Sequence[Completion],
    *,
    environments: Sequence[Play],
    **columns: object,  # noqa: ARG001
) -> list[float]:
    """Return the mean reward of the verdicts on each rollout: of one question answered once, that of its verdict.

    A rollout that never used the tool is judged by what it said last, as one answer: so a model that does not call
    tools yet is told apart by its answers all the same.
    """
    rewards = []
    for completion, play in zip(completions, environments, strict=True):
        verdicts = play.episode.verdicts or play.episode.step(_said(completion)).verdicts
        rewards.append(sum(verdict.reward for verdict in verdicts) / len(verdicts))
    return rewards


@final
class Play:
    """One rollout's problem being played. Its public methods but ``reset`` are the model's tools.

    Args:
        environment, attempts: See `environment_factory`.
    """

    def __init__(self, environment: Environment, *, attempts: int = 1) -> None:
        self._environment, self._attempts = environment, attempts
        self._episode: Episode | None = None

    @property
    def episode(self) -> Episode:
        """The episode so far."""
        if self._episode is None:
            raise DataError("no problem is being played: call reset with a row of holdfast.interop.episodes")
        return self._episode

    def reset(self, **row: Any) -> None:
        """Begin the problem of a row; what was played before is forgotten.

        Raises:
            DataError: the row lacks the columns by which a problem is found again.
        """
        lacking = [name for name in NEEDED if name not in row]
        if lacking:
            raise DataError(f"the row lacks {', '.join(lacking)}; make rows with holdfast.interop.episodes")
        problem = self._environment.sample(row["rule"], row["split"], int(row["index"]), seed=int(row["seed"]))
        if row.get("step") is not None:
            problem = self._environment.steps(problem)[int(row["step"])]
        self._episode = self._environment.begin(problem, attempts=self._attempts)

    def answer(self, reply: str) -> str:
        """
        Give your answer to the question and hear how it was judged, or what is asked next.

        Args:
            reply: The answer, in the form that the question asks for.

        Returns:
            The judgement, or the next question.
        """
        if self.episode.done:
            return "This is over; no further answer counts."
        self._episode = self.episode.step(str(reply))
        return self.episode.verdicts[-1].message if self.episode.done else self.episode.messages[-1]["content"]


def _said(completion: Completion) -> str:
    """Return the last text of the assistant."""
    if isinstance(completion, str):
        return completion
    texts = [message.get("content") for message in completion if message.get("role") == "assistant"]
    last: str | Sequence[Mapping[str, str]] = next((text for text in reversed(texts) if text), "")
    return last if isinstance(last, str) else "".join(part.get("text", "") for part in last)
