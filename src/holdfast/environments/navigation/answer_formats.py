"""How an answer is written: one record a format, read by prompts, demonstrations and the verifier alike.

A format is a template with the fields of ``Answer``. It is read by finding its fixed pieces in order; blanks and line
ends count as one blank, so a reply may be indented as it likes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from holdfast.environments.navigation.rules import FORWARD, STOP, turn_action
from holdfast.errors import UnknownName


class Answer(NamedTuple):
    """What an answer says; None where its format has no such field.

    Attributes:
        action: The action, as it is written.
        instruction: The sentence of the instruction that is carried out.
        observation: What is seen.
        number: Number of the sentence, from 1 on.
    """

    action: str
    instruction: str | None = None
    observation: str | None = None
    number: str | None = None


MAX_ANSWER = 2000
"""Characters of a reply beyond which it keeps to no format."""

_FIELD = re.compile(r"\{(action|instruction|observation|number)\}")


def fill(template: str, fields: Mapping[str, str]) -> str:
    """Replace ``{name}`` by ``fields[name]``; every other brace stays as it is."""
    return _ANY_FIELD.sub(lambda found: fields.get(found[1], found[0]), template)


_ANY_FIELD = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class AnswerFormat:
    """One way to write an answer.

    Attributes:
        name: What prompts and recipes call it.
        asks: The instruction of the long prompts, as a sentence.
        template: The answer, with fields of ``Answer``.
        quoted: Whether fields are written and read as JSON strings.
    """

    name: str
    asks: str
    template: str
    quoted: bool = False

    def write(self, answer: Answer) -> str:
        """Return ``answer``, all of whose fields must be known, in this format."""
        fields = {name: value for name, value in answer._asdict().items() if value is not None}
        if self.quoted:
            fields = {name: json.dumps(value)[1:-1] for name, value in fields.items()}
        return fill(self.template, fields)

    def read(self, reply: str) -> Answer | None:
        """Return what ``reply`` says, or None if it does not keep to the format."""
        if len(reply) > MAX_ANSWER:
            return None
        text = _plain(reply)
        fixed, names = self._pieces
        if not text.startswith(fixed[0]):
            return None
        place = len(fixed[0])
        found = dict.fromkeys(Answer._fields, "")
        for piece, name in zip(fixed[1:-1], names, strict=False):
            end = text.find(piece, place)
            if end < 0:
                return None
            found[name] = text[place:end].strip()
            place = end + len(piece)
        if len(text) < place + len(fixed[-1]) or not text.endswith(fixed[-1]):
            return None
        found[names[-1]] = text[place : len(text) - len(fixed[-1])].strip()
        said = {name: (_unquoted(found[name]) if self.quoted else found[name]) for name in names}
        return None if None in said.values() else Answer(**said)  # type: ignore[arg-type]

    def states(self, field: str) -> bool:
        """Return whether an answer has the field."""
        return field in self._pieces[1]

    @cached_property
    def _pieces(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The fixed pieces around and between the fields, blanks at their ends dropped, and the fields."""
        parts = _FIELD.split(_plain(self.template))
        return tuple(part.strip() for part in parts[::2]), tuple(parts[1::2])


def _plain(text: str) -> str:
    """One blank for any, and JSON's last comma dropped: the published block has it, valid JSON has not."""
    plain = " ".join(text.split())
    return plain.replace('{"', '{ "').replace('"}', '" }').replace('",}', '" }').replace('", }', '" }')


def _unquoted(text: str) -> str | None:
    try:
        read = json.loads(f'"{text}"')
    except ValueError:
        return None
    return read if isinstance(read, str) else None


def read_action(text: str) -> str | None:
    """Return the action that ``text`` is, blanks and quotes within it dropped, or None if it is none.

    Example:
        >>> read_action(" turn_direction( slightly  left )")
        'turn_direction(slightly left)'
    """
    name, opened, rest = text.partition("(")
    inside, closed, after = rest.partition(")")
    if not opened or not closed or "(" in inside or after.strip():
        return None
    name, word = name.strip(), " ".join(inside.strip("\"' \t\n").split())
    if name == "turn_direction" and word:
        return turn_action(word)
    return {"forward": FORWARD, "stop": STOP}.get(name) if not word else None


def find_action(text: str) -> str | None:
    """Return the last action in a free reply, or None if there is none."""
    begin = max(text.rfind(name) for name in ("turn_direction(", "forward(", "stop("))
    end = text.find(")", begin)
    return None if begin < 0 or end < 0 else read_action(text[begin : end + 1])


_ALL = (
    AnswerFormat(
        "json",
        "Answer with one block of this shape:\n"
        "{\n"
        '  "current observation": what you see now,\n'
        '  "current instruction": the sentence that you carry out now,\n'
        '  "action": the action,\n'
        "}",
        '\n{\n  "current observation": "{observation}",\n  "current instruction": "{instruction}",\n'
        '  "action": "{action}",\n}\n',
    ),
    AnswerFormat(
        "object",
        "Answer with one valid JSON object on one line, with the fields instruction and action.",
        '{"instruction": "{instruction}", "action": "{action}"}',
        quoted=True,
    ),
    AnswerFormat("action", "Answer with the action alone.", "{action}"),
    AnswerFormat(
        "instruction_action",
        "Answer with the sentence that you carry out now, a bar, and the action.",
        "{instruction} | {action}",
    ),
    AnswerFormat(
        "numbered",
        "Answer with the number of the sentence that you carry out now, a colon, and the action.",
        "{number}: {action}",
    ),
    AnswerFormat("tagged", "Answer with the action between action tags.", "<action>{action}</action>"),
    AnswerFormat(
        "numbered_tagged",
        "Answer with the number of the sentence that you carry out now, a colon, and the action between action tags.",
        "{number}: <action>{action}</action>",
    ),
    AnswerFormat(
        "lines",
        "Answer in two lines: instruction with the sentence that you carry out now, and action with the action.",
        "instruction: {instruction}\naction: {action}",
    ),
    AnswerFormat("sentence", "Answer with one sentence that gives the action.", "The next action is {action}."),
    AnswerFormat(
        "observation_action", "Answer with what you see now, an arrow, and the action.", "{observation} -> {action}"
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
