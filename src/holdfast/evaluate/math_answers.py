"""Whether a worked solution ends in the right answer: what it boxes, compared as numbers, else as formulas.

The final answer of a reply is its last ``\\boxed{…}``, else what follows the last "answer is" (or GSM8K's ``####``),
else the whole reply if it is one line of mathematics without words, else the last number. That of a row may also be one
line of words.
Numbers (integers, decimals, fractions, percentages, with thousands separators) are compared exactly, here. Everything
else goes to Math-Verify (extra ``math``) in a process of its own with a hard bound (`holdfast.evaluate.bounded`): a
reply that takes longer than `SECONDS`, or more than two gigabytes, is wrong. Nothing of a reply is ever evaluated.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from holdfast.errors import UserError
from holdfast.evaluate.bounded import Helper, OutOfBounds
from holdfast.records import Message

SECONDS = 5.0
LONGEST = 300
"""Characters of a final answer; a longer one is no answer."""
DEEPEST = 40
"""Brackets of one kind; a grammar's time can grow with two to the power of their depth."""
LARGEST_POWER = 400
"""Exponents of a formula above this are not multiplied out."""
LARGEST_POWER_OF_A_NUMBER = 10_000
"""Exponents of a number may be larger: contests ask for ``2^{2014} - 1``."""

_NUMBER = r"[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+−]?\.\d+"
_PLAIN = re.compile(rf"({_NUMBER})(?:\s*/\s*(\d+))?\s*(\\?%)?")
_FRACTION = re.compile(r"([-+−]?)\\[dt]?frac\{?(\d+)\}?\{(\d+)\}")
_LAST_NUMBER = re.compile(rf"(?:{_NUMBER})(?:\s*/\s*\d+)?")
_SAID = re.compile(r"(?:\banswer\s*(?:is|:|=)|####)\s*:?\s*([^\n]+)", re.IGNORECASE)
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")
"""Letters beside each other that are no command: in mathematics, words stand in ``\\text{…}``."""
_SET_AS_TEXT = re.compile(r"\\(?:text(?:bf|rm|it|normal)?|mathrm|mbox)\s*(?=\{)")
_IN_TEXT = re.compile(r"\\text\{[^{}]*\}")
_POWERS = re.compile(r"(\d?)\s*\^\s*\{?\s*\(?\s*[-+−]?\s*(\d+)")
_FACTORIAL = re.compile(r"(?<![\d.^}!])(?:\d{1,3}|[a-zA-Z])\s*!(?!\s*!)")
"""The only ones that are worked out: of a number of three digits, or of a letter."""
_RUNAWAY = re.compile(r"binom.*\d{5}|Gamma|\\(?:prod|sum|int|lim)(?![a-zA-Z])", re.DOTALL)
"""What a grammar accepts and a computer algebra then works on without end; no final answer needs it."""
_WORTHLESS = re.compile(r"\\(?:left|right|quad|qquad|displaystyle)(?![a-zA-Z])|\\[,;!$]|[$~]")


def math(
    prompts: Sequence[Any],  # noqa: ARG001  (TRL's signature)
    completions: Sequence[str | Sequence[Message]],
    completion_ids: Any = None,  # noqa: ARG001
    trainer_state: Any = None,  # noqa: ARG001
    *,
    answer: Sequence[str],
    **columns: Any,  # noqa: ARG001
) -> list[float | None]:
    """Score 1 if a reply ends in the right answer, else 0; the column ``answer`` may be worked out or the answer alone.

    Raises:
        UserError: a formula has to be compared and Math-Verify is not installed.

    Example:
        >>> math(["1/4 + 1/4?"], [r"We add: \\boxed{\\frac{1}{2}}."], answer=["0.5"])
        [1.0]
    """
    said = (one if isinstance(one, str) else one[-1]["content"] for one in completions)
    return [float(same(final_answer(reply), right_answer(right))) for reply, right in zip(said, answer, strict=True)]


def final_answer(text: str) -> str | None:
    """Return what a reply gives as its answer, cut to its formula; None if there is nothing to compare.

    Example:
        >>> final_answer("So x = 3. The answer is $x=\\\\boxed{1{,}024}$."), final_answer("Hence the answer is: 7/2.")
        ('1,024', '7/2')
    """
    found = _boxed(text)
    if found is None:
        told = _SAID.findall(text[-2000:])
        line = None if told else _line_of_mathematics(text)
        numbers = [] if told or line else _LAST_NUMBER.findall(text[-2000:])
        found = (told or [line or (numbers or [None])[-1]])[-1]
    return None if found is None else _bare(found)


def right_answer(text: str) -> str | None:
    """Return what a row gives as its answer: as `final_answer`, and one line of words is an answer too.

    Example:
        >>> right_answer("3 + 4 = 7, so 7 apples."), right_answer(r"\\text{east}"), right_answer("\\\\frac{1}{2}")
        ('7', '\\\\text{east}', '\\\\frac{1}{2}')
    """
    found = final_answer(text)
    return _bare(text) if found is None and "\n" not in text.strip() else found


def _line_of_mathematics(text: str) -> str | None:
    """Return a text that is one line without words; of a sum worked out in numbers, what follows its last ``=``."""
    line = _bare(text) if len(text) <= 2 * LONGEST and "boxed" not in text else None
    if line is None or "\n" in line or not re.search(r"\w", line) or _WORD.search(_IN_TEXT.sub("", line)):
        return None
    left, equals, right = line.rpartition("=")
    return right.strip() if equals and not re.search(r"[a-zA-Z]", left) else line


def _bare(text: str) -> str | None:
    """Return a formula without what only shapes its look; None if nothing is left, or too much."""
    plain = _WORTHLESS.sub("", _SET_AS_TEXT.sub(r"\\text", text.replace("{,}", ","))).strip().rstrip(".").strip()
    return plain if 0 < len(plain) <= LONGEST else None


def same(reply: str | None, right: str | None) -> bool:
    """Whether two final answers are equal.

    Raises:
        UserError: see `math`.
    """
    if reply is None or right is None:
        return False
    if reply == right:
        return True
    first, second = number(reply), number(right)
    if first is not None and second is not None:
        # A question that asks for a percentage may be answered with or without its sign.
        signs = reply.endswith("%") - right.endswith("%")
        return first == second or (signs != 0 and first * Fraction(100) ** signs == second)
    return not _is_a_bomb(reply) and _same_formula(reply, right)


@functools.lru_cache(maxsize=65_536)
def _same_formula(reply: str, right: str) -> bool:
    """Ask the helper, once for each pair: of many samples of a problem, most give one of few answers."""
    try:
        return bool(_helper().ask({"gold": right, "reply": reply})["correct"])
    except OutOfBounds:
        return False


def number(text: str) -> Fraction | None:
    """Return the number that a final answer writes plainly, exactly; None if it is something else.

    Example:
        >>> number("1,024"), number(r"-\\frac{3}{4}"), number("12.5\\\\%"), number("x+1")
        (Fraction(1024, 1), Fraction(-3, 4), Fraction(1, 8), None)
    """
    fraction = _FRACTION.fullmatch(text)
    if fraction is not None:
        sign, above, below = fraction.groups()
        return None if not int(below) else Fraction(int(above), int(below)) * (-1 if sign in ("-", "−") else 1)
    plain = _PLAIN.fullmatch(text)
    if plain is None:
        return None
    value, below, percent = plain.groups()
    if below is not None and not int(below):
        return None
    whole = Fraction(value.replace(",", "").replace("−", "-")) / int(below or 1)
    return whole / 100 if percent else whole


def _boxed(text: str) -> str | None:
    """Return the inside of the last box, braces balanced."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return None
    depth, begin = 0, text.index("{", start) + 1
    for place in range(begin - 1, min(len(text), begin + 4 * LONGEST)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[begin:place]
    return None


def _is_a_bomb(text: str) -> bool:
    """Whether comparing would be absurd work: deep brackets, towers of powers, huge exponents, factorials of much.

    It saves time alone: what it does not know ends at the helper's bound.
    """
    if _depth(text) > DEEPEST or _RUNAWAY.search(text) or text.count("!") > len(_FACTORIAL.findall(text)):
        return True
    if text.count("^") > 4 or ("^" in text and re.search(r"\^[^+\-*=]*\^", text)):
        return True
    bounds = {True: LARGEST_POWER_OF_A_NUMBER, False: LARGEST_POWER}
    return any(int(power[:9]) > bounds[bool(base)] for base, power in _POWERS.findall(text))


def _depth(text: str) -> int:
    """Return how many opening brackets, of any kind, are open at once at most."""
    steps = ((mark in "([{") - (mark in ")]}") for mark in text)
    return max(itertools.accumulate(steps, initial=0))


@functools.cache
def _helper() -> Helper:
    if importlib.util.find_spec("math_verify") is None:
        raise UserError("comparing formulas needs Math-Verify: pip install 'holdfast[math]'")
    return Helper("holdfast.evaluate.math_helper", seconds=SECONDS)
