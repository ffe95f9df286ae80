"""Episodes of training problems, played by the model that learns: what online reinforcement learns from.

Which problems a rollout plays, and every random number in it, is a function of the recipe and of the rollout's number,
so a resumed run plays what an unbroken one would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from holdfast.data.encode import Encoded, questions
from holdfast.data.order import order
from holdfast.environments.base import Environment
from holdfast.models.ranks import Ranks
from holdfast.recipe import Decoding
from holdfast.records import Outcome
from holdfast.rollout.answerer import TRANSFORMERS, Answerer
from holdfast.rollout.episodes import answer


@dataclass(frozen=True)
class Turn:
    """One reply: a row of training.

    Attributes:
        row: Prompt and reply, token by token as they were generated.
        reward: Of the reply alone.
        finished: Whether the model ended it.
        right: Whether the environment verified it.
        text: The reply.
    """

    row: Encoded
    reward: float
    finished: bool
    right: bool = False
    text: str = ""


@dataclass(frozen=True)
class Played:
    """One episode.

    Attributes:
        turns: Its replies in order; no step is spent on an episode that has ended.
        solved: Whether it was solved, at any attempt.
    """

    turns: tuple[Turn, ...]
    solved: bool

    @property
    def reward(self) -> float:
        """The sum of its turns' rewards."""
        return sum(turn.reward for turn in self.turns)


@dataclass(frozen=True)
class Play:
    """Plays groups of episodes of the same problem.

    Attributes:
        environment, rule, split, seed, size: Which problems; ``size`` distinct ones, in a new order every epoch.
        problems: Problems of a rollout, over all ranks.
        episodes: Episodes of each problem: the size of a group.
        attempts: Replies to one question that are judged at most.
        decoding: How the model answers.
        reward: ``success``: 1 for a correct reply, else 0. ``verdict``: the environment's own.
        order_seed: Of the order of problems, and of samples.
        answerer: Who answers.
    """

    environment: Environment
    rule: str
    split: str
    seed: int
    size: int
    problems: int
    episodes: int
    attempts: int
    decoding: Decoding
    reward: Literal["success", "verdict"]
    order_seed: int
    answerer: Answerer = TRANSFORMERS

    def groups(
        self, model: Any, speaker: Any, rollout: int, *, batch_size: int, compute_dtype: torch.dtype, ranks: Ranks
    ) -> list[list[Played]]:
        """Return rollout number ``rollout``: ``episodes`` episodes of each of its problems."""
        numbers = self.numbers(rollout * self.problems, self.problems)
        return self.played(
            model, speaker, numbers, seed=seed_of(self.order_seed, rollout),
            batch_size=batch_size, compute_dtype=compute_dtype, ranks=ranks,
        )  # fmt: skip

    def played(
        self,
        model: Any,
        speaker: Any,
        numbers: Sequence[int],
        *,
        seed: int,
        batch_size: int,
        compute_dtype: torch.dtype,
        ranks: Ranks,
    ) -> list[list[Played]]:
        """Return ``episodes`` episodes of each of these problems; ``seed`` is that of the samples."""
        problems = [self.environment.sample(self.rule, self.split, number, seed=self.seed) for number in numbers]
        begun = [
            self.environment.begin(problem, attempts=self.attempts)
            for problem in problems
            for _ in range(self.episodes)
        ]
        answered = answer(
            model, speaker, begun, self.decoding,
            batch_size=batch_size, compute_dtype=compute_dtype, seed=seed, ranks=ranks,
            answerer=self.answerer,
        )  # fmt: skip
        prompts, owners = [], []
        for number, one in enumerate(answered):
            episode = begun[number]
            for reply in one.replies:
                prompts.append(episode.messages)
                owners.append((number, reply))
                episode = episode.step(reply.text)
        asked = questions(speaker, prompts)
        turns: list[list[Turn]] = [[] for _ in begun]
        for (number, reply), prompt in zip(owners, asked, strict=True):
            row = Encoded((*prompt.prompt_ids, *reply.token_ids), prompt.n_prompt)
            verdict = answered[number].episode.verdicts[len(turns[number])]
            right = verdict.outcome is Outcome.CORRECT
            reward = float(right) if self.reward == "success" else verdict.reward
            turns[number].append(Turn(row, reward, reply.finished, right, reply.text))
        played = [
            Played(tuple(own), one.episode.solved_at is not None) for own, one in zip(turns, answered, strict=True)
        ]
        return [played[at : at + self.episodes] for at in range(0, len(played), self.episodes)]

    def numbers(self, first: int, count: int) -> list[int]:
        """Return the numbers of ``count`` problems, from place ``first`` of the order on."""
        places = (divmod(place, self.size) for place in range(first, first + count))
        return [order(self.size, seed=self.order_seed, epoch=epoch)[index] for epoch, index in places]


def seed_of(seed: int, rollout: int) -> int:
    """Return a seed of its own for each rollout."""
    return seed * 1_000_003 + rollout


TOLD = ("episodes", "groups", "reward", "solved", "mixed", "replies", "reply_tokens", "cut_off")


def told(groups: Sequence[Sequence[Played]]) -> Mapping[str, float]:
    """Return sums over the episodes of a rollout, by the names of `TOLD`; ``mixed`` groups have unequal rewards."""
    episodes = [one for group in groups for one in group]
    turns = [turn for one in episodes for turn in one.turns]
    return {
        "episodes": len(episodes),
        "groups": len(groups),
        "reward": sum(one.reward for one in episodes),
        "solved": sum(one.solved for one in episodes),
        "mixed": sum(len({one.reward for one in group}) > 1 for group in groups),
        "replies": len(turns),
        "reply_tokens": sum(len(turn.row.input_ids) - turn.row.n_prompt for turn in turns),
        "cut_off": sum(not turn.finished for turn in turns),
    }
