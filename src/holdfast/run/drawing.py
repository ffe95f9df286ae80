"""What a method learns from, where the untrained model draws it: rows or pairs, with what the drawing cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from holdfast import __version__
from holdfast.data.sources import EnvironmentRows, Source, TokenRows, Twice
from holdfast.errors import UserError
from holdfast.methods.dpo import DPO
from holdfast.methods.draw import draw
from holdfast.methods.drawn import facts, kept, pairs, sizes
from holdfast.methods.drawn_file import DrawnFile
from holdfast.methods.play import Play
from holdfast.methods.price import answering
from holdfast.methods.rft import RFT
from holdfast.methods.sampling import Drawing
from holdfast.models.cost import Cost
from holdfast.rollout.answerer import named_unless_usual

if TYPE_CHECKING:
    from holdfast.run.methods import Start


class Material(NamedTuple):
    """What is learned from.

    Attributes:
        rows: Of training.
        spent: On drawing them.
        row_weights: Of each row; None: all alike.
    """

    rows: Source
    spent: dict[str, float]
    row_weights: Tensor | None = None


def drawn_material(start: Start, options: RFT | DPO, *, cost: Cost) -> Material:
    """Return rows, or pairs, of answers that the model as it is, untrained, gives to problems of the recipe's data.

    Args:
        start: Of the run; ``drawn.jsonl`` of its folder is read, or written.
        options: Of the recipe's method.
        cost: Of a forward pass.

    Raises:
        UserError: the problems have pictures, or nothing that was drawn can be learned from.
    """
    source = start.rows.source if isinstance(start.rows, Twice) else start.rows
    assert isinstance(source, EnvironmentRows)
    if source.pictured() is not None:
        raise UserError(f"method {_name(start)}: answers about pictures cannot be drawn yet; use demonstrations (sft)")
    questions = draw(
        _play(start, source, options),
        start.loaded.model,
        start.loaded.speaker,
        file=DrawnFile(start.folder, _depends_on(start, source, options)),
        batch_size=start.recipe.per_device_eval_batch_size,
        compute_dtype=start.compute_dtype,
        ranks=start.ranks,
        said=start.said,
    )
    spent, told = answering(cost, sizes(questions)), facts(questions)
    if isinstance(options, DPO):
        found = pairs(questions, by=options.reward, most=options.pairs_per_problem)
        _refuse_nothing(start, options, told, found=len(found), what="pair of a better and a worse answer")
        start.said(f"{_in_words(told)}; {len(found)} pairs are learned from")
        return Material(TokenRows([row for pair in found for row in pair], each=2), spent)
    rows, weights = kept(questions, by=options.reward, most=options.keep)
    _refuse_nothing(start, options, told, found=len(rows), what="answer worth learning")
    start.said(f"{_in_words(told)}; {len(rows)} distinct answers are learned")
    alike = len(set(weights)) == 1
    return Material(TokenRows(rows), spent, None if alike else torch.tensor(weights, dtype=torch.float32))


def _play(start: Start, source: EnvironmentRows, options: Drawing) -> Play:
    return Play(
        environment=source.environment,
        rule=source.rule,
        split=source.split,
        seed=source.seed,
        size=source.size,
        problems=options.problems,
        episodes=options.samples,
        attempts=options.attempts,
        decoding=options.decoding,
        reward="verdict",
        order_seed=start.recipe.seed,
        answerer=start.answerer,
    )


def _depends_on(start: Start, source: EnvironmentRows, options: Drawing) -> dict[str, Any]:
    """Return all that the answers are a function of; how many processes drew them is not among it."""
    drawing = {field.name: getattr(options, field.name) for field in dataclasses.fields(Drawing)}
    drawing.pop("reward")  # both of its readings are kept
    return {**drawing, **answered_by(start), "data": source.fingerprint()}


def answered_by(start: Start) -> dict[str, Any]:
    """Return what the answers of a run's base are a function of, beside what is asked and how they are drawn."""
    return {
        "seed": start.recipe.seed,
        "base": start.loaded.fingerprint,
        "tokenizer": start.loaded.tokenizer_fingerprint,
        "dtype": start.recipe.dtype,
        "compute_dtype": str(start.compute_dtype),
        "attn_implementation": start.recipe.attn_implementation,
        "per_device_eval_batch_size": start.recipe.per_device_eval_batch_size,
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "holdfast": __version__,
        **named_unless_usual(start.answerer),
    }


def _in_words(told: Mapping[str, Any]) -> str:
    low, high = told["right_share_95"]
    between = "" if low is None else f", 95 % [{100 * low:.1f}, {100 * high:.1f}]"
    return (
        f"drew {told['answers']} answers to {told['problems']} problems: {told['right']} right "
        f"({100 * told['right_share']:.1f} %{between}), {told['distinct_right']} of them distinct; "
        f"{told['problems_ever_right']} problems were solved at least once, {told['problems_always_right']} always"
    )


def _refuse_nothing(start: Start, options: Drawing, told: Mapping[str, Any], *, found: int, what: str) -> None:
    if found:
        return
    hints: Sequence[str] = (
        ["Ask harder problems, or raise method.temperature"]
        if told["right"] == told["answers"]
        else [
            f"Draw more (method.samples is {options.samples}, method.problems {options.problems})",
            "ask problems, a wording or an answer format that the model knows (holdfast eval shows what it can do)",
            "or fine-tune it on demonstrations first (method: sft) and start from that checkpoint",
        ]
    )
    cut = f" {told['cut_off']} were cut off at max_new_tokens {options.max_new_tokens}." if told["cut_off"] else ""
    raise UserError(
        f"method {_name(start)}: {_in_words(told)}, and there is no {what}.{cut} {'; '.join(hints)}. "
        f"The answers are in {start.folder / 'drawn.jsonl'}"
    )


def _name(start: Start) -> str:
    spec = start.recipe.method
    return spec if isinstance(spec, str) else str(spec["name"])
