"""Every fixed text of the arithmetic world, for whoever collects the words of its worlds."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.environments.arithmetic.prompts import PROMPT_STYLES
from holdfast.environments.arithmetic.rules import RULES
from holdfast.environments.arithmetic.styles import STYLES
from holdfast.environments.arithmetic.verifier import messages


def vocabulary_texts() -> Iterator[str]:
    """Yield every fixed text: prompt styles, rules, styles and verdict messages. Fields are blank."""
    for text in PROMPT_STYLES.values():
        yield text.format(rule=" ", expression=" ", style=" ", asks=" ")
    for rule in RULES.values():
        yield rule.words
    for style in STYLES.values():
        yield style.name
        yield style.asks
        yield from style.texts()
    yield from messages()
    yield "+ - * ( ) = ; , . 0 1 2 3 4 5 6 7 8 9"
