"""Every fixed text of the navigation game, for whoever collects the words of its worlds."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.environments.navigation.answer_formats import ANSWER_FORMATS, fill
from holdfast.environments.navigation.geometry import COMPASS, SIDES, TURNS
from holdfast.environments.navigation.instructions import INSTRUCTIONS, SIGHTS
from holdfast.environments.navigation.legacy import legacy_messages
from holdfast.environments.navigation.names import name_words
from holdfast.environments.navigation.prompts import PROMPT_STYLES, action_space
from holdfast.environments.navigation.rules import RULES, TOKENS, find_rule
from holdfast.environments.navigation.verifier import strict_messages

_FIELDS = (
    "instruction", "action_space", "words", "answer", "answer_asks", "history", "steps",
    "action", "observation", "number",
)  # fmt: skip

_SENTENCES = (
    "You start facing north.",
    "1. First, turn left to face north.",
    "2. Move forward until you reach next intersection where Maple Bakery is on your left.",
    "3. Turn right to face south.",
    "4. Move forward until you reach destination where The destination Maple Bakery is on your right.",
    "Turn toward the tower.",
    "Turn to your right.",
)
_SEEN = (
    "No landmarks nearby; ",
    "No landmark nearby; You observe an intersection",
    "The destination Maple Bakery is on your left; ",
    "1 start, the tower is on your left: forward()",
    "2 road: turn_direction(north)",
    "3 intersection, Maple Bakery is on your right: stop()",
    "4 destination, Maple Bakery is on your right:",
    "O_1: A_1: \n",
)


def vocabulary_texts() -> Iterator[str]:
    """Yield every fixed text: prompt styles, answer formats, rules, sentences, observations, names and messages.

    Fields are blank. Numbers of sentences and points are not listed: a route can have any.
    """
    blank = dict.fromkeys(_FIELDS, " ")
    for text in PROMPT_STYLES.values():
        yield fill(text, blank)
    for answer_format in ANSWER_FORMATS.values():
        yield answer_format.name
        yield answer_format.asks
        yield fill(answer_format.template, blank)
    for name in RULES:
        yield name
        yield find_rule(name).terse
        yield action_space(find_rule(name))
    yield from (" ".join(words) for words in (COMPASS, SIDES, TURNS, SIGHTS, TOKENS, INSTRUCTIONS, name_words()))
    yield from _SENTENCES
    yield from _SEEN
    yield from strict_messages()
    yield from legacy_messages()
    yield "( ) _ [ ] { } , ' \" : ; . | - > < / \n 0 1 2 3 4 5 6 7 8 9"
