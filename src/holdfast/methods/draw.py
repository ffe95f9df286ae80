"""Answers of the untrained model to problems of the data, drawn once before training.

Which problems are asked and every random number are functions of the recipe, part by part, so a run that breaks off
while it draws goes on with the very answers of an unbroken one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from holdfast.methods.drawn import Answer, Question
from holdfast.methods.drawn_file import DrawnFile, Lines
from holdfast.methods.play import Play, Played, seed_of
from holdfast.models.ranks import Ranks

PART = 128
"""Problems that are drawn together, and lost together by a kill."""


def draw(
    play: Play,
    model: Any,
    speaker: Any,
    *,
    file: DrawnFile,
    batch_size: int,
    compute_dtype: torch.dtype,
    ranks: Ranks,
    said: Callable[[str], None],
) -> tuple[Question, ...]:
    """Return the answers to ``play.problems`` problems: those in ``file``, or new ones, which are left there.

    Args:
        play: Problems, answers of each, and how they are judged; its ``reward`` is ``verdict``.
        model, speaker: The untrained model and its tokenizer.
        file: Of the run folder; the main rank reads and writes it.
        batch_size, compute_dtype, ranks: See `holdfast.rollout.episodes.answer`.
        said: Hears how far the drawing is.

    Raises:
        RunFolderError: see `DrawnFile.read`.
    """
    lines: Lines | None = ranks.on_main(file.read)
    if lines is not None:
        return tuple(map(Question.from_json, lines))
    numbers = play.numbers(0, play.problems)
    cuts = [numbers[at : at + PART] for at in range(0, len(numbers), PART)]
    parts: list[Lines] = ranks.on_main(file.begin)
    for number in range(len(parts), len(cuts)):
        groups = play.played(
            model, speaker, cuts[number], seed=seed_of(play.order_seed, number),
            batch_size=batch_size, compute_dtype=compute_dtype, ranks=ranks,
        )  # fmt: skip
        asked = [one for problem, group in zip(cuts[number], groups, strict=True) for one in _questions(problem, group)]
        part = [one.to_json() for one in asked]
        ranks.on_main(functools.partial(file.add, number, part))
        parts.append(part)
        done = sum(map(len, cuts[: number + 1]))
        said(f"drew answers to {done} of {len(numbers)} problems")
    questions = tuple(Question.from_json(line) for part in parts for line in part)
    ranks.on_main(lambda: file.finish(questions))
    return questions


def _questions(problem: int, episodes: Sequence[Played]) -> list[Question]:
    """Return what was asked in the episodes of one problem: the same prompt is one question."""
    answers: dict[tuple[int, ...], list[Answer]] = {}
    for turn in (turn for episode in episodes for turn in episode.turns):
        said = turn.row.input_ids[turn.row.n_prompt :]
        answers.setdefault(turn.row.prompt_ids, []).append(
            Answer(said, turn.text, turn.right, turn.reward, turn.finished)
        )
    return [Question(problem, prompt, tuple(own)) for prompt, own in answers.items()]
