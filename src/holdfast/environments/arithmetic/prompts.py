"""How a problem is asked: prompt styles as data. Every one names the rule, the expression and the style of the answer.

``plain`` is long, for models that know English; ``terse`` is the shortest; ``paraphrase`` draws one of a pool by
problem, alike under every rule.
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.environments.arithmetic.problems import stream
from holdfast.environments.arithmetic.rules import Rule
from holdfast.environments.arithmetic.styles import Style
from holdfast.errors import UnknownName
from holdfast.records import Problem

PLAIN = (
    "Work out {expression}. Here the order of operations is a rule of its own: brackets first, then {rule}; signs that "
    "bind alike are taken from left to right. {asks}"
)
TERSE = "rule {rule}\nwork out {expression}\nin {style}"

PARAPHRASES = (
    "work out {expression} in {style}; rule: {rule}",
    "rule: {rule}\nexpression: {expression}\nanswer in {style}",
    "With {rule}, what is {expression}? Answer in {style}.",
    "Answer in {style}. The rule is {rule}. Work out {expression}.",
    "{expression} with {rule}, in {style}",
)

PARAPHRASE = "paraphrase"

PROMPT_STYLES: Mapping[str, str] = {
    "plain": PLAIN,
    "terse": TERSE,
    **{f"{PARAPHRASE}_{number}": text for number, text in enumerate(PARAPHRASES, 1)},
}
"""The templates by name. ``paraphrase`` stands for one of the pool."""


def check_prompt_style(name: str) -> None:
    """Raise ``UnknownName`` unless ``name`` is a style of prompts."""
    if name != PARAPHRASE and name not in PROMPT_STYLES:
        raise UnknownName("prompt style", name, (*PROMPT_STYLES, PARAPHRASE))


def prompt_text(problem: Problem, prompt_style: str, rule: Rule, style: Style) -> str:
    """Return the text that asks ``problem``."""
    if prompt_style == PARAPHRASE:
        draw = stream("paraphrase", problem.seed, problem.split, problem.index)
        prompt_style = f"{PARAPHRASE}_{draw.randrange(len(PARAPHRASES)) + 1}"
    return PROMPT_STYLES[prompt_style].format(
        rule=rule.words, expression=problem.facts["expression"], style=style.name, asks=style.asks
    )
