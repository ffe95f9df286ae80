"""How a derivation is told: one record a style, read by prompts, demonstrations and the verifier alike.

A style has sentences for each sign, connectives for the first step and the later ones, and sentences for the answer.
The first of each is what the fixed solution uses. ``foreign`` is for fine-tuning: no base has seen it, but all of its
words occur in other styles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from random import Random
from typing import NamedTuple

from holdfast.environments.arithmetic.derivations import Step
from holdfast.errors import UnknownName

MAX_STEPS = 8
"""Steps that are read of a reply; an expression of four signs takes four, so that eight are never valid."""


class Told(NamedTuple):
    """What a reply says.

    Attributes:
        answer: The number it ends in.
        steps: The first ``MAX_STEPS`` steps that could be read, in order.
        kept: Whether the reply is nothing but sentences of the style.
        end: Where the answer ends in the text.
    """

    answer: int
    steps: tuple[Step, ...]
    kept: bool
    end: int


@dataclass(frozen=True)
class Style:
    """One way to tell a derivation.

    Attributes:
        name: What prompts and recipes call it.
        asks: The instruction of the long prompts, as a sentence.
        sentences: For each sign the sentences of a step ``{a} sign {b} = {c}``, without a stop.
        openings: Connectives before the first step; may be empty.
        connectives: Connectives before a later step; may be empty.
        answers: Sentences that state the answer ``{n}``, without a stop.
        stop: What ends a step's sentence.
        last_stop: What ends the answer.
    """

    name: str
    asks: str
    sentences: Mapping[str, tuple[str, ...]]
    openings: tuple[str, ...]
    connectives: tuple[str, ...]
    answers: tuple[str, ...]
    stop: str = "."
    last_stop: str = "."

    def write(self, steps: Sequence[Step], answer: int, rng: Random | None = None) -> str:
        """Return the derivation in words.

        Args:
            steps: In order.
            answer: What they lead to.
            rng: Draws every sentence and connective; None takes the first of each, and connectives in turn.
        """
        parts = []
        for number, step in enumerate(steps):
            leads = self.connectives if number else self.openings
            lead = rng.choice(leads) if rng else leads[max(number - 1, 0) % len(leads)]
            told = rng.choice(self.sentences[step.sign]) if rng else self.sentences[step.sign][0]
            parts.append(lead + told.format(a=step.first, b=step.second, c=step.result) + self.stop)
        said = rng.choice(self.answers) if rng else self.answers[0]
        parts.append(said.format(n=answer) + self.last_stop)
        return " ".join(_capital(part) if self.stop == "." else part for part in parts)

    def read(self, text: str) -> Told | None:
        """Return what ``text`` says last in this style, or None if it states no answer in it."""
        *_, answer = (None, *self._answer.finditer(text))
        if answer is None:
            return None
        found = islice(self._step.finditer(text, 0, answer.start()), MAX_STEPS)
        steps = tuple(self._step_of(step) for step in found)
        number = next(group for group in answer.groups() if group is not None)
        return Told(int(number), steps, self._whole.fullmatch(text.strip()) is not None, answer.end())

    def texts(self) -> Iterator[str]:
        """Yield every fixed text, numbers left out, with and without its capital."""
        told = [sentence for sentences in self.sentences.values() for sentence in sentences]
        for text in (*told, *self.openings, *self.connectives, *self.answers, self.stop, self.last_stop):
            blank = re.sub(r"\{[abcn]\}", " ", text)
            yield blank
            yield _capital(blank)

    def _step_of(self, found: re.Match[str]) -> Step:
        assert found.lastindex is not None
        sign, first_is_a = self._kinds[found.lastindex // 3 - 1]
        one, other, result = (int(found[group]) for group in range(found.lastindex - 2, found.lastindex + 1))
        return Step(one, sign, other, result) if first_is_a else Step(other, sign, one, result)

    @cached_property
    def _kinds(self) -> tuple[tuple[str, bool], ...]:
        """Sign and order of the numbers of each sentence, in the order of the pattern's groups."""
        return tuple((sign, told.index("{a}") < told.index("{b}")) for sign, told in self._told())

    def _told(self) -> Iterator[tuple[str, str]]:
        for sign, sentences in self.sentences.items():
            for told in sentences:
                yield sign, told

    @cached_property
    def _step(self) -> re.Pattern[str]:
        return _pattern(f"(?:{'|'.join(_grouped(told) for _, told in self._told())}){_edge(self.stop)}")

    @cached_property
    def _answer(self) -> re.Pattern[str]:
        return _pattern(f"(?:{'|'.join(map(_grouped, self.answers))}){_edge(self.last_stop)}")

    @cached_property
    def _whole(self) -> re.Pattern[str]:
        step = f"(?:{'|'.join(_plain(told) for _, told in self._told())}){re.escape(self.stop)} "
        first, later = (f"(?:{'|'.join(map(re.escape, leads))})" for leads in (self.openings, self.connectives))
        answer = f"(?:{'|'.join(map(_plain, self.answers))}){re.escape(self.last_stop)}"
        return _pattern(f"{first}{step}(?:{later}{step}){{0,{MAX_STEPS - 1}}}{answer}")


def find_style(name: str) -> Style:
    """Return the style called ``name``.

    Raises:
        UnknownName: there is none.
    """
    if name not in STYLES:
        raise UnknownName("style", name, STYLES)
    return STYLES[name]


_NUMBER = "[0-9]{1,6}"
_FIELD = re.compile(r"\\\{[abcn]\\\}")


def _grouped(sentence: str) -> str:
    return _FIELD.sub(lambda _: f"(?<![0-9])({_NUMBER})(?![0-9])", re.escape(sentence))


def _plain(sentence: str) -> str:
    return _FIELD.sub(lambda _: _NUMBER, re.escape(sentence))


def _edge(stop: str) -> str:
    return re.escape(stop) if stop else "(?![0-9])"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.ASCII)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


_ALL = (
    Style(
        "sentences",
        "Write one sentence a step, such as “2 plus 3 is 5.”, and end with “The answer is 5.”.",
        {
            "+": ("{a} plus {b} is {c}", "{a} plus {b} makes {c}"),
            "-": ("{a} minus {b} is {c}", "{a} minus {b} makes {c}"),
            "*": ("{a} times {b} is {c}", "{a} times {b} makes {c}"),
        },
        ("First ", "", "To begin, "),
        ("Then ", "", "Now ", "Next "),
        ("the answer is {n}", "so the answer is {n}"),
    ),
    Style(
        "commands",
        "Write one command a step, such as “Add 2 and 3 to get 5.”, and end with “This gives 5.”.",
        {
            "+": ("add {a} and {b} to get {c}", "add {b} to {a} to get {c}"),
            "-": ("subtract {b} from {a} to get {c}", "take {b} from {a} to get {c}"),
            "*": ("multiply {a} by {b} to get {c}", "multiply {a} with {b} to get {c}"),
        },
        ("First ", "", "To begin, "),
        ("Then ", "", "After this, ", "Next "),
        ("this gives {n}", "in the end this gives {n}"),
    ),
    Style(
        "nouns",
        "Name each step's result, such as “The sum of 2 and 3 is 5.”, and end with “Altogether 5.”.",
        {
            "+": ("the sum of {a} and {b} is {c}", "the sum of {a} and {b} gives {c}"),
            "-": ("the difference of {a} and {b} is {c}", "the difference of {a} and {b} gives {c}"),
            "*": ("the product of {a} and {b} is {c}", "the product of {a} and {b} gives {c}"),
        },
        ("First ", "", "Now "),
        ("Next ", "", "Then ", "After this, "),
        ("altogether {n}", "so the result is {n}"),
    ),
    Style(
        "equations",
        "Write one equation a step, such as “2 + 3 = 5;”, and end with “answer 5”.",
        {"+": ("{a} + {b} = {c}",), "-": ("{a} - {b} = {c}",), "*": ("{a} * {b} = {c}",)},
        ("", "first "),
        ("", "then ", "so ", "now "),
        ("answer {n}", "result {n}"),
        stop=";",
        last_stop="",
    ),
    Style(
        "foreign",
        "Begin each step with its numbers, such as “first, with 2 and 3, the sum makes 5;”, and end with “so "
        "this makes the answer 5.”.",
        {
            "+": ("with {a} and {b}, the sum makes {c}", "from {a} and {b}, plus gives {c}"),
            "-": ("with {a} and {b}, the difference makes {c}", "from {a} and {b}, minus gives {c}"),
            "*": ("with {a} and {b}, the product makes {c}", "from {a} and {b}, times gives {c}"),
        },
        ("first, ", "", "now, "),
        ("and then, ", "", "and now, ", "and so, "),
        ("so this makes the answer {n}", "and so this is {n}"),
        stop=";",
    ),
)  # fmt: skip

STYLES: Mapping[str, Style] = {style.name: style for style in _ALL}
"""The styles by name."""

FOREIGN = "foreign"
