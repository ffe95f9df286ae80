"""How a problem is asked: prompt styles as data, and the user's own template file.

Every style names the rule, the cards, the target and the answer format. ``paper`` has the structure of the published
prompt (bracket-headed blocks, the rule said twice, a leading newline) in our own words; ``terse`` is the shortest;
``paraphrase`` draws one of a pool by problem, and ``paraphrase_1``, ... name each of them. The published text itself
comes from a template file that the user holds, byte for byte. Where a picture shows the cards (``PICTURE_STYLES``), the
text does not name them.

Fields: ``{rule}`` (sentence without a final stop), ``{rule_terse}``, ``{cards}``, ``{card_list}`` (Python repr),
``{target}``, ``{answer}`` (name of the answer format), ``{answer_asks}`` (its instruction).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from holdfast.environments.general_points.answer_formats import AnswerFormat, fill
from holdfast.environments.general_points.cards import Hand, words_of
from holdfast.environments.general_points.rules import Rule
from holdfast.environments.general_points.splits import stable_number
from holdfast.errors import UnknownName, UserError
from holdfast.records import Problem

PAPER = """
[Task]
You are skilled at a card game in which the cards have to make {target} points. You are shown some cards, where \
{rule}, and you must use every card exactly once. Find a formula over what the cards count as, written with the signs \
+ - * / ( ) and =, that comes to {target}.

[Cards]
Cards: {card_list}

[Answer]
{answer_asks}

[Reminder]
Remember that {rule}. Answer format: {answer}.

"""

PAPER_PICTURE = """
[Task]
You are skilled at a card game in which the cards have to make {target} points. You are shown a picture of some cards, \
where {rule}, and you must use every card exactly once. Read the cards from the picture and find a formula over what \
they count as, written with the signs + - * / ( ) and =, that comes to {target}.

[Answer]
Reply in JSON. {answer_asks}

[Reminder]
Remember that {rule}. Answer format: {answer}.

"""

TERSE_PICTURE = "rule {rule_terse}\ncards in the picture\ntarget {target}\nanswer {answer}"

TERSE = "rule {rule_terse}\ncards {cards}\ntarget {target}\nanswer {answer}"

PARAPHRASES = (
    "make {target} from {cards} where {rule_terse}; answer {answer}",
    "cards: {cards}\nwith {rule_terse}\ngoal: {target}\nformat: {answer}",
    "Use {cards} to make {target}. Here {rule_terse}. Answer as {answer}.",
    "{rule_terse} | {cards} | {target} | {answer}",
    "target {target}\nformat {answer}\nrule {rule_terse}\ncards {cards}",
    "Given {rule_terse}, which formula over {cards} makes {target}? Answer as {answer}.",
    "goal {target}; hand {cards}; counts {rule_terse}; format {answer}",
    "The hand is {cards}. The rule is {rule_terse}. The goal is {target}. The format is {answer}.",
    "as {answer}: {cards} to {target}, {rule_terse}",
    "Answer as {answer}. Rule: {rule_terse}. Target: {target}. Cards: {cards}.",
    "With {cards} and {rule_terse}, find {target} as {answer}.",
    "hand {cards}\nmake {target}\nwhere {rule_terse}\nas {answer}",
    "Find a formula for {target}. Cards {cards}, counting {rule_terse}, format {answer}.",
    "{cards} must make {target} when {rule_terse}. Reply in {answer}.",
)

PARAPHRASE = "paraphrase"

PROMPT_STYLES: Mapping[str, str] = {
    "paper": PAPER,
    "terse": TERSE,
    **{f"{PARAPHRASE}_{number}": text for number, text in enumerate(PARAPHRASES, 1)},
}
"""The templates by name. ``paraphrase`` stands for one of the pool, by problem."""

PICTURE_STYLES: Mapping[str, str] = {"paper": PAPER_PICTURE, "terse": TERSE_PICTURE}
"""The templates where a picture shows the cards."""

TEMPLATE_FIELDS = ("target", "cards", "rule")
"""What the user's template file may use; every other brace is text."""


def check_prompt_style(name: str) -> None:
    """Raise ``UnknownName`` unless ``name`` is a style."""
    if name != PARAPHRASE and name not in PROMPT_STYLES:
        raise UnknownName("prompt style", name, (*PROMPT_STYLES, PARAPHRASE))


def check_picture_style(name: str) -> None:
    """Raise ``UnknownName`` unless ``name`` is a style for pictures."""
    if name not in PICTURE_STYLES:
        raise UnknownName("prompt style for cards shown in a picture", name, PICTURE_STYLES)


def style_of(problem: Problem, prompt_style: str) -> str:
    """Return the style in which ``problem`` is asked: ``paraphrase`` picks one, alike under every rule."""
    if prompt_style != PARAPHRASE:
        return prompt_style
    place = stable_number(f"paraphrase {problem.seed} {problem.split} {problem.index}")
    return f"{PARAPHRASE}_{place % len(PARAPHRASES) + 1}"


def template_path(template: str, rule: str) -> Path:
    """Return the file to use under ``rule``: ``{rule}`` in the path stands for the rule's name."""
    return Path(template.replace("{rule}", rule))


@lru_cache(maxsize=64)
def read_template(path: Path) -> str:
    """Return the text of a template file, line ends untouched.

    Raises:
        UserError: the file cannot be read or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as fault:
        raise UserError(f"template {str(path)!r} cannot be read: {fault.strerror or fault}") from fault
    except UnicodeDecodeError as fault:
        raise UserError(f"template {str(path)!r} is not UTF-8 text (byte {fault.start})") from fault


def check_template(path: Path, *, names_cards: bool) -> None:
    """Raise ``UserError`` if a template cannot be read, or its field ``{cards}`` is missing or gives away a picture.

    Args:
        path: The file.
        names_cards: Whether the text is to name the cards; False where a picture shows them.
    """
    if ("{cards}" in read_template(path)) == names_cards:
        return
    if names_cards:
        raise UserError(f"template {str(path)!r} has no field {{cards}}; fields: {{target}} {{cards}} {{rule}}")
    raise UserError(f"template {str(path)!r} names the cards that the picture is to show; take its {{cards}} out")


def prompt_text(
    text: str, rule: Rule, hand: Hand, *, target: int, card_text: str, show_color: bool, answer_format: AnswerFormat
) -> str:
    """Return a style's text with its fields filled."""
    words = words_of(hand, card_text, show_color=show_color)
    between = " " if card_text == "ranks" else ", "
    return fill(
        text,
        {
            "rule": rule.sentence(),
            "rule_terse": rule.terse(),
            "cards": between.join(words),
            "card_list": repr(list(words)),
            "target": str(target),
            "answer": answer_format.name,
            "answer_asks": answer_format.asks,
        },
    )


def template_text(text: str, rule: Rule, hand: Hand, *, target: int, card_text: str, show_color: bool) -> str:
    """Return the user's template with ``{target}``, ``{cards}`` (a Python list, as published) and ``{rule}`` filled."""
    cards = repr(list(words_of(hand, card_text, show_color=show_color)))
    return fill(text, {"target": str(target), "cards": cards, "rule": rule.sentence()})
