"""From prompts with their answers to questions: who plays, and at which word of the answer the model is watched.

The target is the first word of the answer that says something of the prompt and that the *base* does not know for sure.
A word that stands at the same place in the answer to every prompt belongs to the format and is passed over. Where the
base gives the word a probability above `MOST_SURE`, its log-odds tell nothing, since it stays sure whatever is masked;
that is refused. The answer up to the target is given to the model, so that a later word can be one: one of the first
`CANDIDATES`, since each token that is given is read under every mask.

Shapes: ``T`` tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import torch

from holdfast.errors import DataError, UserError
from holdfast.models.compute import compute
from holdfast.models.modes import evaluating
from holdfast.objectives.head import OutputHead
from holdfast.probes.interactions.asking import Watched
from holdfast.probes.interactions.game import Placed, Question, Span, place
from holdfast.probes.interactions.outputs import log_odds
from holdfast.probes.interactions.words import Word, answer_words, chosen, content_words
from holdfast.records import Example, Message

MOST_SURE = 0.99
FEWEST_PLAYERS = 2
CANDIDATES = 8
"""Words of an answer that may be the target."""
SEVERAL = 8
"""Answers from which a format can be told."""


class Refusal(NamedTuple):
    """A prompt that cannot be a question, and why."""

    key: str
    why: str


class Asked(NamedTuple):
    """What became of prompts.

    Attributes:
        questions: In the order of the prompts.
        sureness: The base's probability of each question's target.
        refused: The others.
    """

    questions: tuple[Question, ...]
    sureness: tuple[float, ...]
    refused: tuple[Refusal, ...]


class Drawn(NamedTuple):
    """An example whose players are known and whose target is not: no model was asked.

    Attributes:
        key: Its name.
        example: It.
        placed: Its tokens.
        players: Words that play.
        candidates: Words of the answer that may be the target.
    """

    key: str
    example: Example
    placed: Placed
    players: tuple[Word, ...]
    candidates: tuple[Word, ...]

    @property
    def spans(self) -> list[Span]:
        """Tokens of the players, in order."""
        return [span for span in map(self.placed.tokens_of, self.players) if span is not None]

    @property
    def longest(self) -> int:
        """Tokens of prompt and answer up to the last candidate."""
        spans = [self.placed.tokens_of(word, answer=True) for word in self.candidates]
        return max([self.placed.asked, *(span.start for span in spans if span is not None)])


def draw(
    examples: Sequence[Example], speaker: Any, *, players: int, watched: Watched = "content"
) -> tuple[list[Drawn], list[Refusal]]:
    """Choose the players of examples, and the words that may be their targets.

    Args:
        examples: Prompts with their answers; ``source`` is the key, which must be distinct.
        speaker: A fast tokenizer, or a processor with one.
        players: Words that play; an example with fewer is refused, since all must play the same game.
        watched: Which words may be targets.
    """
    fixed = _format([example.completion for example in examples]) if watched == "content" else frozenset()
    drawn: list[Drawn] = []
    refused: list[Refusal] = []
    for number, example in enumerate(examples):
        key = example.source or f"prompt {number}"
        try:
            drawn.append(_drawn(key, example, speaker, players=players, fixed=fixed))
        except DataError as fault:
            refused.append(Refusal(key, str(fault)))
    return drawn, refused


def ask(
    examples: Sequence[Example],
    base: Any,
    speaker: Any,
    *,
    players: int,
    watched: Watched = "content",
    count: int | None = None,
    dtype: torch.dtype = torch.float32,
    said: Callable[[str], None] | None = None,
) -> Asked:
    """Make questions of examples.

    Args:
        examples, speaker, players, watched: See `draw`.
        base: The untrained model, on any device: it says which targets are refused.
        count: Questions wanted at most; examples beyond are not looked at. None for all.
        dtype: In which the base computes.
        said: Hears of each question, and of each refusal.

    Raises:
        DataError: there is nothing to ask, or no example can be asked.
    """
    drawn, refused = draw(examples, speaker, players=players, watched=watched)
    found: list[tuple[Question, float]] = []
    with evaluating(base), torch.no_grad(), compute(base, dtype):
        head = OutputHead(base)
        for one in drawn:
            if count is not None and len(found) == count:
                break
            sureness = _sureness(one.placed, one.candidates, base, head)
            target = next(((w, p) for w, p in zip(one.candidates, sureness, strict=True) if p <= MOST_SURE), None)
            if target is None:
                refused.append(Refusal(one.key, _too_sure(one, sureness)))
                continue
            found.append(
                (Question(one.key, one.example.prompt, one.players, one.example.completion, target[0]), target[1])
            )
    if said is not None:
        for question, sure in found:
            said(f"{_named(question)} (base: {sure:.2g})")
        for refusal in refused:
            said(refusal.why)
    if not found:
        first = f"; the first: {refused[0].why}" if refused else ""
        raise DataError(f"none of {len(examples)} prompts can be asked{first}")
    kept, sureness_of = zip(*found, strict=True)
    return Asked(kept, sureness_of, tuple(refused))


def ask_one(
    prompt: Sequence[Message],
    target: str,
    base: Any,
    speaker: Any,
    *,
    players: int,
    key: str = "prompt",
    dtype: torch.dtype = torch.float32,
) -> tuple[Question, float]:
    """Return the question about one target that the user names, and the base's probability of it.

    Args:
        prompt: Messages; the last one's words play.
        target: The words that the answer begins with; the first of them is watched.
        base, speaker, players, dtype: See `ask`; a prompt of fewer words plays with all it has.
        key: Name of the prompt.

    Raises:
        UserError: the base is sure of the target, or there are no words to play with.
    """
    watched = answer_words(target)
    words = content_words(prompt[-1]["content"])
    if len(words) < FEWEST_PLAYERS or not watched:
        raise UserError(
            f"{key}: {len(words)} content words in the prompt and {len(watched)} in the target {target!r}; there must "
            f"be {FEWEST_PLAYERS} of the former and one of the latter"
        )
    example = Example(tuple(prompt), target, key)
    one = _drawn(key, example, speaker, players=min(players, len(words)), fixed=frozenset())
    with evaluating(base), torch.no_grad(), compute(base, dtype):
        sureness = _sureness(one.placed, watched[:1], base, OutputHead(base))[0]
    if sureness > MOST_SURE:
        raise UserError(
            f"{key}: the base gives {watched[0].text!r} a probability of {sureness:.4f}, above {MOST_SURE}, so its "
            "log-odds say nothing about words; watch another --target. Nothing was measured."
        )
    return Question(key, tuple(prompt), one.players, target, watched[0]), sureness


def _format(answers: Sequence[str]) -> frozenset[tuple[int, str]]:
    """Return the words that all answers have at the same place, by place and text; none of fewer than `SEVERAL`."""
    told = [[word.text for word in answer_words(answer)] for answer in answers]
    if len(told) < SEVERAL:
        return frozenset()
    return frozenset(
        (place, text) for place, text in enumerate(told[0]) if all(own[place : place + 1] == [text] for own in told)
    )


def _drawn(key: str, example: Example, speaker: Any, *, players: int, fixed: Collection[tuple[int, str]]) -> Drawn:
    words = content_words(example.prompt[-1]["content"])
    placed = place(example.prompt, example.completion, speaker, name=key)
    apart = [word for word, own in zip(words, _apart(placed, words), strict=True) if own]
    if len(apart) < players:
        raise DataError(f"{key} has {len(apart)} content words with tokens of their own, and {players} are to play")
    told = [word for at, word in enumerate(answer_words(example.completion)) if (at, word.text) not in fixed]
    return Drawn(
        key, example, placed, chosen(apart, players, key=example.prompt[-1]["content"]), tuple(told[:CANDIDATES])
    )


def _apart(placed: Placed, words: Sequence[Word]) -> list[bool]:
    """Whether each word has tokens, none of them another word's."""
    spans = [placed.tokens_of(word) for word in words]
    taken: dict[int, int] = {}
    for span in spans:
        for token in range(span.start, span.end) if span else ():
            taken[token] = taken.get(token, 0) + 1
    return [span is not None and all(taken[token] == 1 for token in range(span.start, span.end)) for span in spans]


def _sureness(placed: Placed, words: Sequence[Word], base: Any, head: OutputHead) -> list[float]:
    """Return the base's probability of the first token of each word of the answer, teacher-forced, in one pass."""
    spans = [placed.tokens_of(word, answer=True) for word in words]
    device = next(iter(base.parameters())).device
    ids_1T = torch.tensor([placed.ids], device=device)
    hidden_TH = head.trunk(base, {"input_ids": ids_1T, "use_cache": False}).hidden_BTH[0]
    sureness = []
    for span in spans:
        if span is None:
            sureness.append(1.0)  # no token of its own, so it cannot be watched
            continue
        logits_1V = head.transform.apply(head.module(hidden_TH[span.start - 1 : span.start]))
        sureness.append(float(log_odds(logits_1V, placed.ids[span.start]).sigmoid()))
    return sureness


def _too_sure(one: Drawn, sureness: Sequence[float]) -> str:
    shown = ", ".join(f"{w.text!r} {p:.3f}" for w, p in list(zip(one.candidates, sureness, strict=True))[:4]) or "none"
    return f"{one.key}: the base is sure of every word of the answer that may be watched (above {MOST_SURE}): {shown}"


def _named(question: Question) -> str:
    who = " ".join(word.text for word in question.players)
    given = question.answer[: question.target.start]
    return f"{question.key}: players {who}; target {question.target.text!r}" + (f" after {given!r}" if given else "")
