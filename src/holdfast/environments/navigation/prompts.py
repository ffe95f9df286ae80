"""How a point of a route is asked: prompt styles as data, and the user's own template file.

Every style gives the instruction, the action space, the answer format and the history, which grows by a line a point:
so all questions of one route begin alike. ``paper`` has the five bracket-headed blocks of the published prompt in its
order, in our own words; ``terse`` is the shortest, with the history last; ``paraphrase`` draws one of a pool by route,
and ``paraphrase_1``, ... name each of them. The published text itself comes from a template file that the user holds,
byte for byte.

Fields: ``{instruction}`` (numbered lines, each ended), ``{action_space}`` (three lines), ``{words}`` (what a turn may
be, in short), ``{answer}`` (name of the answer format), ``{answer_asks}`` (its instruction), ``{history}`` (published
shape) and ``{steps}`` (the same in short).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from holdfast.environments.navigation.answer_formats import AnswerFormat, fill
from holdfast.environments.navigation.rules import Rule
from holdfast.errors import UnknownName, UserError
from holdfast.records import Problem

PAPER = """
[Task]
You guide a walker through a city, by text alone. You are given the instruction of a whole route, the actions that you \
can choose from, and what the walker has seen and done so far. First find the sentence of the instruction that has to \
be carried out now, then give the one action that carries it out.

[Instruction]
{instruction}
[Action space]
{action_space}

[Observations and actions]
{history}
[Output]
{answer_asks} Answer format: {answer}.
"""

TERSE = "route\n{instruction}turn {words}\nanswer {answer}\n{steps}"

PARAPHRASES = (
    "follow the route:\n{instruction}turn with {words}; answer {answer}\n{steps}",
    "answer {answer}\nways: {words}\nplan:\n{instruction}so far:\n{steps}",
    "You may turn {words}.\n{instruction}Answer as {answer}.\n{steps}",
    "{words} | {answer}\n{instruction}{steps}",
    "Your way is:\n{instruction}Say a turn as one of: {words}. Format: {answer}. Done so far:\n{steps}",
    "directions {words}\nroute\n{instruction}format {answer}\nlog\n{steps}",
    "The instruction is:\n{instruction}The turns are {words}. The format is {answer}. Which action is next?\n{steps}",
    "as {answer}, turning {words}\n{instruction}now\n{steps}",
    "Answer as {answer}. Turns: {words}. Route:\n{instruction}Steps:\n{steps}",
    "walk:\n{instruction}turns: {words}\nreply: {answer}\nsteps:\n{steps}",
)

PARAPHRASE = "paraphrase"

PROMPT_STYLES: Mapping[str, str] = {
    "paper": PAPER,
    "terse": TERSE,
    **{f"{PARAPHRASE}_{number}": text for number, text in enumerate(PARAPHRASES, 1)},
}
"""The templates by name. ``paraphrase`` stands for one of the pool, by route."""

TEMPLATE_FIELDS = ("instruction", "action_space", "history")
"""What the user's template file may use; every other brace is text."""


class Done(NamedTuple):
    """A point that the history tells of.

    Attributes:
        observation, short_observation: What was seen, as published and in short.
        action: What was done; None where it is asked.
    """

    observation: str
    short_observation: str
    action: str | None


def check_prompt_style(name: str) -> None:
    """Raise ``UnknownName`` unless ``name`` is a style."""
    if name != PARAPHRASE and name not in PROMPT_STYLES:
        raise UnknownName("prompt style", name, (*PROMPT_STYLES, PARAPHRASE))


def style_of(problem: Problem, prompt_style: str) -> str:
    """Return the style in which ``problem`` is asked: ``paraphrase`` picks one for the whole route, under any rule."""
    if prompt_style != PARAPHRASE:
        return prompt_style
    text = f"paraphrase {problem.seed} {problem.split} {problem.index}"
    return f"{PARAPHRASE}_{int.from_bytes(sha256(text.encode()).digest()[:8], 'big') % len(PARAPHRASES) + 1}"


def reads_short(text: str) -> bool:
    """Return whether a style tells the history in short, so that answers too give the short observation."""
    return "{steps}" in text


def template_path(template: str, rule: str) -> Path:
    """Return the file to use under ``rule``: ``{rule}`` in the path stands for the rule's name."""
    return Path(template.replace("{rule}", rule))


@lru_cache(maxsize=64)
def read_template(path: Path) -> str:
    """Return the text of a template file, line ends untouched.

    Raises:
        UserError: the file cannot be read, is not UTF-8, or lacks the instruction or the history.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as fault:
        raise UserError(f"template {str(path)!r} cannot be read: {fault.strerror or fault}") from fault
    except UnicodeDecodeError as fault:
        raise UserError(f"template {str(path)!r} is not UTF-8 text (byte {fault.start})") from fault
    for field in ("{instruction}", "{history}"):
        if field not in text:
            fields = " ".join(f"{{{name}}}" for name in TEMPLATE_FIELDS)
            raise UserError(f"template {str(path)!r} has no field {field}; fields: {fields}")
    return text


def prompt_text(
    text: str, rule: Rule, *, instruction: str, history: Sequence[Done], answer_format: AnswerFormat
) -> str:
    """Return a style's text with its fields filled."""
    fields = {
        "instruction": instruction,
        "action_space": action_space(rule),
        "words": rule.terse,
        "answer": answer_format.name,
        "answer_asks": answer_format.asks,
        "history": published_history(history),
        "steps": short_history(history),
    }
    return fill(text, fields)


def template_text(text: str, rule: Rule, *, instruction: str, history: Sequence[Done]) -> str:
    """Return the user's template with its three fields filled."""
    fields = {"instruction": instruction, "action_space": action_space(rule), "history": published_history(history)}
    return fill(text, fields)


def action_space(rule: Rule) -> str:
    """Return the three lines that say what may be answered."""
    legend = f"; these are {rule.legend}" if rule.legend else ""
    return (
        "forward(): one step ahead\n"
        f"turn_direction(x): turn to face another way, where x is one of {', '.join(rule.words)}{legend}\n"
        "stop(): end the walk at the destination"
    )


def published_history(history: Sequence[Done]) -> str:
    """Return observations ``O_i`` and actions ``A_i``, from 1 on; the last action is left open."""
    return "".join(
        f"O_{number}: {done.observation}\nA_{number}: {'' if done.action is None else done.action}\n"
        for number, done in enumerate(history, 1)
    )


def short_history(history: Sequence[Done]) -> str:
    """Return a line for each point; the last ends where its action is asked for."""
    return "\n".join(
        f"{number} {done.short_observation}:{'' if done.action is None else f' {done.action}'}"
        for number, done in enumerate(history, 1)
    )
