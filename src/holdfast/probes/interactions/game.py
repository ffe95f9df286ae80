"""A question bound to a tokenizer: which tokens each player has, and which token is the target.

A `Question` knows no tokenizer: a prompt, the words that play, the answer up to the target word. `bind` finds their
tokens, so that checkpoints, and models with other tokenizers, play one game. A token belongs to a player if it holds
any of its characters, with the blank before it where the tokenizer joins the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from holdfast.data.chat import has_template, rendered
from holdfast.data.encode import questions
from holdfast.data.pictures import tokenizer_of
from holdfast.errors import DataError
from holdfast.probes.interactions.asking import PROMPT
from holdfast.probes.interactions.words import Word
from holdfast.records import RAW, Message

MOST_TARGET_TOKENS = 4


@dataclass(frozen=True)
class Question:
    """What is asked, whoever is asked.

    Attributes:
        key: Name of the prompt; choices and intervals go by it.
        prompt: Messages, the last one the user's.
        players: Words of the last message, in order.
        answer: The answer, right or of the model's own making.
        target: The word of the answer whose probability is watched; what precedes it is given.
    """

    key: str
    prompt: tuple[Message, ...]
    players: tuple[Word, ...]
    answer: str
    target: Word


class Span(NamedTuple):
    """Tokens [start, end)."""

    start: int
    end: int


@dataclass(frozen=True)
class Game:
    """A question in tokens.

    Attributes:
        question: What it was.
        ids: Prompt, answer up to the target, and the target's tokens but for the last.
        players: Tokens of each player, in order, apart from each other.
        target_ids: Tokens of the target, at most `MOST_TARGET_TOKENS`; the output sums their log-odds.
    """

    question: Question
    ids: tuple[int, ...]
    players: tuple[Span, ...]
    target_ids: tuple[int, ...]

    @property
    def masks(self) -> int:
        """2^n."""
        return 1 << len(self.players)

    def to_json(self) -> dict[str, Any]:
        """Return who played and what was watched, for logs."""
        return {
            "key": self.question.key,
            "players": [word.text for word in self.question.players],
            "tokens": [list(span) for span in self.players],
            "target": self.question.target.text,
            "target_ids": list(self.target_ids),
            "given": self.question.answer[: self.question.target.start],
        }


class Placed(NamedTuple):
    """A prompt and its answer in tokens.

    Attributes:
        ids: Of both.
        asked: How many are the prompt's.
        in_prompt: Of each token, its characters in the user's text; negative, or beyond it, if they are elsewhere.
        in_answer: Of each token, its characters in the answer, likewise.
    """

    ids: tuple[int, ...]
    asked: int
    in_prompt: tuple[Span, ...]
    in_answer: tuple[Span, ...]

    def tokens_of(self, word: Word, *, answer: bool = False) -> Span | None:
        """Return the tokens that hold characters of a word; None if there are none, or something between them."""
        begin, end = (self.asked, len(self.ids)) if answer else (0, self.asked)
        spans = self.in_answer if answer else self.in_prompt
        own = [at for at in range(begin, end) if spans[at].start < word.end and spans[at].end > word.start]
        if not own or own[-1] - own[0] + 1 != len(own):
            return None
        return Span(own[0], own[-1] + 1)


def bind(question: Question, speaker: Any, *, template: str = PROMPT, target_tokens: int = 1) -> Game:
    """Return a question as this tokenizer's tokens.

    Args:
        question: Of any maker.
        speaker: A fast tokenizer of Transformers, or a processor with one.
        template: What stands around the user's text, with ``{prompt}`` in its place: its words are background.
        target_tokens: Of a target of several tokens, how many count, from its first.

    Raises:
        DataError: the tokenizer cannot say where its tokens stand, the chat template rewrites the prompt, or two
            players share a token.
    """
    if PROMPT not in template or not 1 <= target_tokens <= MOST_TARGET_TOKENS:
        raise DataError(
            f"a template must hold {PROMPT} and a target 1 to {MOST_TARGET_TOKENS} tokens, got {template!r} and "
            f"{target_tokens}"
        )
    *before, last = question.prompt
    text = template.replace(PROMPT, last["content"])
    shift = template.index(PROMPT)
    placed = place((*before, Message(role=last["role"], content=text)), question.answer, speaker, name=question.key)
    players: list[Span] = []
    for word in question.players:
        span = placed.tokens_of(Word(word.text, word.start + shift, word.end + shift))
        if span is None or (players and span.start < players[-1].end):
            raise DataError(f"{question.key}: {word.text!r} has no tokens of its own in this tokenizer; choose others")
        players.append(span)
    target = placed.tokens_of(question.target, answer=True)
    if target is None:
        raise DataError(f"{question.key}: the target {question.target.text!r} has no tokens in this tokenizer")
    end = min(target.end, target.start + target_tokens)
    return Game(question, placed.ids[: end - 1], tuple(players), placed.ids[target.start : end])


def place(prompt: Sequence[Message], answer: str, speaker: Any, *, name: str) -> Placed:
    """Return prompt and answer in tokens, as training and generation see them, with their places in the texts.

    Raises:
        DataError: see `bind`.
    """
    if any(message.get("images") for message in prompt):
        raise DataError(f"{name} has a picture: the players of a game are words")
    tokenizer = tokenizer_of(speaker)
    if not tokenizer.is_fast:
        raise DataError(f"{name}: a slow tokenizer does not say where tokens stand in their text; use a fast one")
    asked_ids = questions(speaker, [prompt])[0].input_ids
    user = prompt[-1]["content"]
    if prompt[0]["role"] == RAW or not has_template(speaker):
        asked = _tokenized(tokenizer, user, special=True)
        said = _tokenized(tokenizer, answer, special=False)
        return Placed((*asked.ids, *said.ids), len(asked.ids), (*asked.spans, *said.spans), (*asked.spans, *said.spans))
    talk = (*prompt, Message(role="assistant", content=answer))
    (asked_text,), (whole_text,) = (
        rendered(speaker, [conversation], [name], asks=asks) for conversation, asks in ((prompt, True), (talk, False))
    )
    whole = _tokenized(tokenizer, whole_text, special=False)
    at, then = asked_text.rfind(user.strip()), whole_text.find(answer.strip(), len(asked_text))
    if at < 0 or then < 0 or whole.ids[: len(asked_ids)] != asked_ids:
        raise DataError(f"{name}: the chat template rewrites the prompt or the answer, so words cannot be found in it")
    at -= len(user) - len(user.lstrip())
    then -= len(answer) - len(answer.lstrip())
    return Placed(whole.ids, len(asked_ids), _moved(whole.spans, at), _moved(whole.spans, then))


class _Tokenized(NamedTuple):
    ids: tuple[int, ...]
    spans: tuple[Span, ...]


def _tokenized(tokenizer: Any, text: str, *, special: bool) -> _Tokenized:
    told: Mapping[str, Any] = tokenizer(
        text, add_special_tokens=special, return_offsets_mapping=True, return_attention_mask=False, verbose=False
    )
    return _Tokenized(tuple(told["input_ids"]), tuple(Span(*span) for span in told["offset_mapping"]))


def _moved(spans: Sequence[Span], by: int) -> tuple[Span, ...]:
    return tuple(Span(span.start - by, span.end - by) for span in spans)
