"""Rows of training with those that are replayed among them, which the untrained model may have to answer first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from holdfast.data.encode import Encoded
from holdfast.data.replayed import Replayed
from holdfast.data.sources import EnvironmentRows, ExampleRows, Source, TokenRows
from holdfast.errors import UserError
from holdfast.methods.asked_rows import RULE, AskedRows
from holdfast.methods.draw import draw
from holdfast.methods.drawn import Question, sizes
from holdfast.methods.drawn_file import DrawnFile
from holdfast.methods.play import Play
from holdfast.methods.price import added, answering
from holdfast.models.cost import Cost
from holdfast.recipe import Decoding, Recipe, Replay
from holdfast.run.drawing import Material, answered_by

if TYPE_CHECKING:
    from holdfast.run.methods import Start

FILE = "replay"
"""Name of the file of the base's answers."""


def asks_for_replay(recipe: Recipe) -> bool:
    """Whether the untrained model answers what is replayed."""
    return recipe.data.replay is not None and recipe.data.replay.answers == "base"


def with_replay(start: Start, material: Material, *, cost: Cost) -> Material:
    """Return what is learned from with the recipe's share of replayed rows.

    Args:
        start: Of a run whose data has a replay; ``replay.jsonl`` of its folder is read, or written, where the model
            as it is, untrained, answers what is replayed.
        material: Of the data alone.
        cost: Of a forward pass.

    Raises:
        UserError: the base is to answer about pictures, or every answer of it was cut off.
    """
    replay, other, spent = start.recipe.data.replay, start.replayed, material.spent
    assert replay is not None
    assert other is not None
    if asks_for_replay(start.recipe):
        questions = _asked(start, replay, other)
        other, spent = TokenRows(_learned(start, replay, questions)), added(spent, answering(cost, sizes(questions)))
    rows = Replayed(material.rows, other, share=replay.share)
    return Material(rows, spent, _weights(material.row_weights, len(other)))


def _asked(start: Start, replay: Replay, source: Source) -> tuple[Question, ...]:
    if source.pictured() is not None:
        raise UserError("data.replay: the base cannot answer about pictures yet; write answers: given")
    return draw(
        _play(start, replay, source),
        start.loaded.model,
        start.loaded.speaker,
        file=DrawnFile(start.folder, _depends_on(start, replay, source), name=FILE, told=_told),
        batch_size=start.recipe.per_device_eval_batch_size,
        compute_dtype=start.compute_dtype,
        ranks=start.ranks,
        said=start.said,
    )


def _play(start: Start, replay: Replay, source: Source) -> Play:
    decoding = Decoding(temperature=replay.temperature, max_new_tokens=replay.max_new_tokens)
    if isinstance(source, EnvironmentRows):
        environment, rule, split, seed, size = (
            source.environment, source.rule, source.split, source.seed, source.size
        )  # fmt: skip
    else:
        assert isinstance(source, ExampleRows)
        environment, rule, split, seed, size = AskedRows(source.examples), RULE, "train", 0, len(source)
    return Play(
        environment=environment,
        rule=rule,
        split=split,
        seed=seed,
        size=size,
        problems=min(replay.size, size),
        episodes=1,
        attempts=1,
        decoding=decoding,
        reward="verdict",
        order_seed=start.recipe.seed,
        answerer=start.answerer,
    )


def _depends_on(start: Start, replay: Replay, source: Source) -> dict[str, Any]:
    asked = {"size": replay.size, "temperature": replay.temperature, "max_new_tokens": replay.max_new_tokens}
    return {**asked, **answered_by(start), "data": source.fingerprint()}


def _learned(start: Start, replay: Replay, questions: Sequence[Question]) -> list[Encoded]:
    """Return the answers that the model ended, and that fit, with their questions."""
    ended = [question.row(answer) for question in questions for answer in question.answers if answer.finished]
    longest = start.recipe.max_length
    rows = [row for row in ended if longest is None or len(row.input_ids) <= longest]
    told = _told(questions)
    words = f"the base answered {told['answers']} questions for replay: {told['cut_off']} answers were cut off at " + (
        f"{replay.max_new_tokens} tokens and {len(ended) - len(rows)} are beyond max_length"
    )
    if not rows:
        raise UserError(
            f"data.replay: {words}, so there is nothing to replay. Raise data.replay.max_new_tokens"
            f"{'' if longest is None else ' or max_length'}, ask what the model answers more shortly, or write "
            f"answers: given. The answers are in {start.folder / FILE}.jsonl"
        )
    start.said(f"{words}; {len(rows)} are replayed")
    return rows


def _told(questions: Sequence[Question]) -> dict[str, Any]:
    answers = [answer for question in questions for answer in question.answers]
    return {"answers": len(answers), "cut_off": sum(not answer.finished for answer in answers)}


def _weights(weights: Tensor | None, more: int) -> Tensor | None:
    """Return the weights of rows and of ``more`` replayed ones, each of which counts as a mean row."""
    return None if weights is None else torch.cat([weights, torch.ones(more)])
