"""Games whose interactions are known, and games on tiny models, for the tests of interactions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from holdfast.probes.interactions.game import Game, Question, Span
from holdfast.probes.interactions.transforms import orders, outputs_of
from holdfast.probes.interactions.words import Word
from holdfast.records import Message

Array = NDArray[np.float64]


class Planted(NamedTuple):
    """Outputs (M,) with noise, and the interactions (2, M) that made them."""

    values: Array
    truth: Array


def planted(n: int, *, atoms: int, noise: float, seed: int) -> Planted:
    """Return a game of so many AND and OR interactions, low orders more often, of strengths 0.5 to 2 of either sign."""
    generator = np.random.default_rng(seed)
    chance = np.exp(-0.7 * orders(n)) * (orders(n) > 0)
    both = np.concatenate([chance, chance * (orders(n) > 1)])
    places = generator.choice(len(both), atoms, replace=False, p=both / both.sum())
    truth = np.zeros(len(both))
    truth[places] = generator.uniform(0.5, 2, atoms) * generator.choice([-1, 1], atoms)
    truth = truth.reshape(2, -1)
    values = outputs_of(truth[0], truth[1]) + noise * generator.standard_normal(1 << n)
    return Planted(values, truth)


def f1(found: Array, truth: Array) -> float:
    """Return the F1 score of signed sets, whose non-members are 0."""
    right = int(((np.sign(found) == np.sign(truth)) & (truth != 0)).sum())
    return 2 * right / (int((found != 0).sum()) + int((truth != 0).sum()))


def tiny_game(spans: list[tuple[int, int]], *, tokens: int, seed: int = 0, targets: tuple[int, ...] = (7,)) -> Game:
    """Return a game of random tokens of a tiny model's vocabulary."""
    ids = np.random.default_rng(seed).integers(3, 90, size=tokens).tolist()
    words = tuple(Word(f"w{number}", 3 * number, 3 * number + 2) for number in range(len(spans)))
    prompt = (Message(role="user", content=" ".join(word.text for word in words)),)
    question = Question(f"tiny {seed}", prompt, words, "x", Word("x", 0, 1))
    return Game(question, tuple(ids), tuple(Span(*span) for span in spans), targets)
