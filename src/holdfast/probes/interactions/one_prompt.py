"""The interactions of one prompt under one model, or under two: what ``holdfast interactions`` shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from holdfast.errors import DataError, UserError
from holdfast.models.load import Loaded, load
from holdfast.probes.interactions import cancellation, order
from holdfast.probes.interactions.asking import Masking
from holdfast.probes.interactions.game import Game, Question, bind
from holdfast.probes.interactions.learned_blank import learned_blank
from holdfast.probes.interactions.masking import blank_of
from holdfast.probes.interactions.measure import Measured, measure
from holdfast.probes.interactions.outputs import naive_tokens, shared_tokens
from holdfast.probes.interactions.questions import ask, ask_one
from holdfast.probes.interactions.salience import fit, salient
from holdfast.probes.interactions.sets import follow
from holdfast.probes.interactions.words import content_words
from holdfast.recipe import Decoding
from holdfast.records import Example, Message
from holdfast.report.interactions import Interaction, OnePrompt, Side
from holdfast.report.words import visible
from holdfast.rollout.generate import generate

ANSWER_TOKENS = 32
"""Of the model's own answer, in which a target is looked for."""


def one_prompt(
    model: str,
    prompt: str,
    *,
    base: str | None = None,
    target: str | None = None,
    players: int = 8,
    masking: Masking = "token",
    said: Callable[[str], None] = print,
) -> OnePrompt:
    """Measure the interactions of one prompt.

    Args:
        model: Name or folder.
        prompt: The user's text.
        base: What ``model`` was trained from: it makes the blank, says which target is too sure, and is measured too.
            None takes the model itself.
        target: What the answer begins with; its first word is watched. None takes the first word that the base does
            not know for sure of the model's own answer.
        players: Words that play, at most.
        masking: See `holdfast.probes.interactions.masking`.
        said: Hears who plays and what is watched.

    Raises:
        UserError: a model or the prompt cannot be used, or the base is sure of the target.
    """
    loaded = load(model)
    first = loaded if base is None else load(base)
    question, sureness = _question(prompt, target, loaded, first, players)
    game = bind(question, loaded.speaker)
    start = blank_of("token" if masking == "learned" else masking, first.model, first.speaker)
    blank = learned_blank(first.model, [game], start) if masking == "learned" else start
    given = question.answer[: question.target.start]
    after = f" after {given!r}" if given else ""
    said(f"players: {', '.join(numbered([word.text for word in question.players]))}")
    said(f"target: {question.target.text!r}{after}, probability {sureness:.3g} under {first.source}")
    said(f"masked by {blank.words}; {shared_tokens(game):,} tokens read of {naive_tokens(game):,}")
    names = [model] if base is None else [base, model]
    found = [measure(one.model, [game], blank) for one in ([loaded] if base is None else [first, loaded])]
    return _told(game, names, found, prompt=prompt, sureness=sureness, blank=blank.words)


def _question(prompt: str, target: str | None, loaded: Loaded, first: Loaded, players: int) -> tuple[Question, float]:
    messages = [Message(role="user", content=prompt)]
    if target is not None:
        return ask_one(messages, target, first.model, first.speaker, players=players)
    (reply,) = generate(
        loaded.model, loaded.speaker, [messages], Decoding(max_new_tokens=ANSWER_TOKENS), batch_size=1,
        compute_dtype=torch.float32,
    )  # fmt: skip
    example = Example(tuple(messages), reply.text, "prompt")
    few = max(2, min(players, len(content_words(prompt))))
    try:
        asked = ask([example], first.model, first.speaker, players=few, watched="any")
    except DataError as fault:
        answer = visible(reply.text, 60)
        raise UserError(
            f"{fault}. The model's own answer is {answer!r}: name a word to watch, --target WORD"
        ) from fault
    return asked.questions[0], asked.sureness[0]


def numbered(words: Sequence[str]) -> list[str]:
    """Return words of which those that come again are told apart.

    Example:
        >>> numbered(["4", "Q", "4"])
        ['4 (1)', 'Q', '4 (2)']
    """
    return [
        word if words.count(word) == 1 else f"{word} ({words[: place + 1].count(word)})"
        for place, word in enumerate(words)
    ]


def _told(
    game: Game, names: Sequence[str], found: Sequence[Measured], *, prompt: str, sureness: float, blank: str
) -> OnePrompt:
    now, thresholds = found[-1], found[0].thresholds()
    chain = follow([one.interactions_P2M for one in found], thresholds)[-1]
    words = numbered([word.text for word in game.question.players])
    rows = []
    for kind, label in enumerate(("AND", "OR")):
        for subset in range(1, game.masks):
            at = (0, kind, subset)
            strengths = tuple(float(one.interactions_P2M[at]) for one in found)
            found_in = [name for name in ("preserved", "emerged", "removed") if chain._asdict()[name][at] != 0]
            what = "turned" if len(found_in) > 1 else "".join(found_in)
            members = tuple(word for player, word in enumerate(words) if subset >> player & 1)
            rows.append(Interaction(label, members, strengths, what))
    rows.sort(key=lambda one: -max(abs(strength) for strength in one.strengths))
    return OnePrompt(
        prompt=prompt,
        players=tuple(words),
        target=game.question.target.text,
        given=game.question.answer[: game.question.target.start],
        base_probability=sureness,
        blank=blank,
        interactions=tuple(rows),
        sides=tuple(_side(name, one) for name, one in zip(names, found, strict=True)),
        threshold=float(thresholds.min()),
        compared=len(found) > 1,
        strength=float(np.abs(now.interactions_P2M).sum()),
    )


def _side(name: str, found: Measured) -> Side:
    spread = order.by_order(found.interactions_P2M)
    counts = salient(found.interactions_P2M, found.thresholds())
    return Side(
        name=name,
        nothing=float(found.values_PM[0, 0]),
        everything=float(found.values_PM[0, -1]),
        strength=float(order.strength(found.interactions_P2M)[0]),
        positive=tuple(spread.positive[0].tolist()),
        negative=tuple(spread.negative[0].tolist()),
        high_order=float(order.high_order_share(found.interactions_P2M)[0]),
        evidence=float(cancellation.evidence(found.values_PM, found.interactions_P2M)[0]),
        counting=int((counts != 0).sum()),
        masks=found.values_PM.shape[1],
        fit=float(fit(found.values_PM, found.interactions_P2M, counts)[0]),
        noise=float(found.noise_P[0]),
        gap=float(found.gap_P[0]),
        residual=float(found.residual_P[0]),
    )
