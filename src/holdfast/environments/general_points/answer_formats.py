"""How an answer is written: one record a format, read by prompts, demonstrations and the verifier alike.

A format is a template with the fields of ``fill`` and a pattern that recognizes exactly what the template writes
(blanks are free where JSON leaves them free). Patterns are linear: every repetition is over a class that excludes what
follows it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from holdfast.environments.general_points.cards import Hand, rank_text
from holdfast.environments.general_points.solver import Tree, render, steps
from holdfast.errors import UnknownName


class Stated(NamedTuple):
    """What a reply states in its format. ``numbers`` is None where the format has no such field or it is unreadable."""

    formula: str
    numbers: tuple[int, ...] | None


@dataclass(frozen=True)
class AnswerFormat:
    """One way to write an answer.

    Attributes:
        name: What prompts and recipes call it.
        asks: The instruction of the long prompts, as a sentence.
        template: The answer, with fields of ``answer_fields``.
        pattern: Matches a whole answer without its surrounding blanks; groups ``formula`` and, at times, ``numbers``.
    """

    name: str
    asks: str
    template: str
    pattern: re.Pattern[str]

    @property
    def states_numbers(self) -> bool:
        """Whether an answer lists what the cards are worth."""
        return "numbers" in self.pattern.groupindex

    @property
    def states_cards(self) -> bool:
        """Whether an answer lists the cards in a field ``cards``."""
        return '"cards"' in self.template

    def write(self, hand: Hand, values: tuple[int, ...], tree: Tree, target: int) -> str:
        """Return the answer that gives ``tree`` for ``hand``, whose cards are worth ``values``."""
        return fill(self.template, answer_fields(hand, values, tree, target))

    def read(self, reply: str) -> Stated | None:
        """Return what ``reply`` states, or None if it does not keep to the format."""
        if len(reply) > MAX_ANSWER:
            return None
        found = self.pattern.fullmatch(reply.strip())
        if found is None:
            return None
        return Stated(found["formula"], read_numbers(found["numbers"]) if self.states_numbers else None)


MAX_ANSWER = 2000
"""Characters of a reply beyond which it keeps to no format."""

_FIELD = re.compile(r"\{([a-z_]+)\}")
_SMALL_INTEGER = re.compile("-?[0-9]{1,6}")


def fill(template: str, fields: Mapping[str, str]) -> str:
    """Replace ``{name}`` by ``fields[name]``; every other brace stays as it is."""
    return _FIELD.sub(lambda found: fields.get(found[1], found[0]), template)


def answer_fields(hand: Hand, values: tuple[int, ...], tree: Tree, target: int) -> dict[str, str]:
    """Return the fields an answer template may use."""
    ranks = [rank_text(card) for card in hand]
    return {
        "card_list": repr(ranks),
        "card_json": json.dumps(ranks),
        "number_list": repr(list(values)),
        "numbers": " ".join(map(str, values)),
        "mapping": " ".join(f"{rank}={value}" for rank, value in zip(ranks, values, strict=True)),
        "steps": "; ".join(steps(tree)),
        "formula": f"{render(tree)}={target}",
    }


def read_numbers(text: str) -> tuple[int, ...] | None:
    """Return the integers in ``text``, parted by commas or blanks, or None if it holds anything else."""
    words = text.replace(",", " ").split()
    if len(words) > 16 or not all(_SMALL_INTEGER.fullmatch(word) for word in words):
        return None
    return tuple(int(word) for word in words)


_FORMULA = r"(?P<formula>[-+*/()=0-9 ]+)"
_NUMBERS = r"(?P<numbers>-?[0-9][-0-9 ]*)"

_ALL = (
    AnswerFormat(
        "json",
        "Answer with one block of this shape:\n"
        "{\n"
        '  "cards": the cards as given,\n'
        '  "number": what each card counts as,\n'
        '  "formula": the formula and the number it makes,\n'
        "}",
        '\n{\n  "cards": {card_list},\n  "number": {number_list},\n  "formula": "{formula}",\n}',
        re.compile(
            r'\{\s*"cards": \[[^]]*\],\s*"number": \[(?P<numbers>[^]]*)\],\s*"formula": "(?P<formula>[^"]*)",?\s*\}'
        ),
    ),
    AnswerFormat(
        "object",
        "Answer with one valid JSON object on one line, with the fields cards, number and formula.",
        '{"cards": {card_json}, "number": {number_list}, "formula": "{formula}"}',
        re.compile(
            r'\{\s*"cards": ?\[[^]]*\],\s*"number": ?\[(?P<numbers>[^]]*)\],\s*"formula": ?"(?P<formula>[^"]*)"\s*\}'
        ),
    ),
    AnswerFormat(
        "values_formula",
        "Answer with what the cards count as, a colon, and the formula.",
        "{numbers}: {formula}",
        re.compile(f"{_NUMBERS}: {_FORMULA}"),
    ),
    AnswerFormat("formula", "Answer with the formula alone.", "{formula}", re.compile(_FORMULA)),
    AnswerFormat(
        "steps",
        "Answer with each step of the calculation, parted by semicolons, then the whole formula.",
        "{steps}; {formula}",
        re.compile(rf"(?:[-+*/()0-9 ]+=[-/0-9 ]+; )+{_FORMULA}"),
    ),
    AnswerFormat(
        "tagged",
        "Answer with what the cards count as between values tags, then the formula between formula tags.",
        "<values>{numbers}</values><formula>{formula}</formula>",
        re.compile(rf"<values>{_NUMBERS}</values>\s*<formula>{_FORMULA}</formula>"),
    ),
    AnswerFormat(
        "formula_tagged",
        "Answer with the formula between formula tags, then what the cards count as between values tags.",
        "<formula>{formula}</formula><values>{numbers}</values>",
        re.compile(rf"<formula>{_FORMULA}</formula>\s*<values>{_NUMBERS}</values>"),
    ),
    AnswerFormat(
        "values_tagged",
        "Answer with values and what the cards count as, then the formula between formula tags.",
        "values: {numbers}<formula>{formula}</formula>",
        re.compile(rf"values: {_NUMBERS}\s*<formula>{_FORMULA}</formula>"),
    ),
    AnswerFormat(
        "sentence",
        "Answer with one sentence that gives the formula.",
        "The formula is {formula}.",
        re.compile(rf"The formula is {_FORMULA}\."),
    ),
    AnswerFormat(
        "mapping",
        "Answer with each card and what it counts as, then the word so and the formula.",
        "{mapping} so {formula}",
        re.compile(rf"(?P<mapping>[AJQK0-9]+=-?[0-9]+(?: [AJQK0-9]+=-?[0-9]+)*) so {_FORMULA}"),
    ),
    AnswerFormat(
        "lines",
        "Answer in two lines: values with what the cards count as, and formula with the formula.",
        "values: {numbers}\nformula: {formula}",
        re.compile(rf"values: {_NUMBERS}\nformula: {_FORMULA}"),
    ),
)

ANSWER_FORMATS: Mapping[str, AnswerFormat] = {form.name: form for form in _ALL}
"""The formats by name. ``json`` is the published one (its trailing comma makes it invalid JSON on purpose)."""


def find_answer_format(name: str) -> AnswerFormat:
    """Return the format called ``name``.

    Raises:
        UnknownName: there is none.
    """
    if name not in ANSWER_FORMATS:
        raise UnknownName("answer format", name, ANSWER_FORMATS)
    return ANSWER_FORMATS[name]
