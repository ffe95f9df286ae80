"""Reading a formula that a model wrote: own tokenizer, exact rationals, and no way to run it as code.

Accepted are ASCII numbers without leading zeros, ``+ - * / ( )``, blanks between tokens, a minus sign directly before
a number at the start, after an operator or after ``(`` (a *signed number*, for negative card values), and one tail
``=24``. Everything else (``**``, ``//``, ``×``, ``−``, letters, digits of other scripts) is illegal.
Length, number of tokens, digits and depth are capped and the parser does not recurse, so hostile text is cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

MAX_CHARACTERS = 400
MAX_TOKENS = 200
MAX_DEPTH = 40
MAX_DIGITS = 6

_PRECEDENCE: Mapping[str, int] = {"+": 1, "-": 1, "*": 2, "/": 2}
_DIGITS = frozenset("0123456789")


class IllegalFormula(ValueError):
    """A text is not a formula; the message says why, as words that end a sentence."""


class Formula(NamedTuple):
    """A formula in reverse Polish order.

    Attributes:
        postfix: Numbers and operators.
        numbers: The numbers alone, in the order written.
        claim: What stands after ``=``; None without it.
    """

    postfix: tuple[int | str, ...]
    numbers: tuple[int, ...]
    claim: int | None


def read_formula(text: str) -> Formula:
    """Parse ``text``.

    Raises:
        IllegalFormula: it is not a formula, or beyond one of the caps.
    """
    if len(text) > MAX_CHARACTERS:
        raise IllegalFormula(f"the formula is longer than {MAX_CHARACTERS} characters")
    body, equals, tail = text.partition("=")
    claim = _read_claim(tail) if equals else None
    output: list[int | str] = []
    waiting: list[str] = []
    numbers: list[int] = []
    depth = 0
    value_comes = True  # else an operator or a closing bracket must come
    for symbol in _tokens(body):
        if isinstance(symbol, int):
            if not value_comes:
                raise IllegalFormula("an operator is missing before a number")
            output.append(symbol)
            numbers.append(symbol)
            value_comes = False
        elif symbol == "(":
            if not value_comes:
                raise IllegalFormula("an operator is missing before a bracket")
            depth += 1
            if depth > MAX_DEPTH:
                raise IllegalFormula("the brackets are too deep")
            waiting.append(symbol)
        elif value_comes:
            raise IllegalFormula("a number is missing")
        elif symbol == ")":
            while waiting and waiting[-1] != "(":
                output.append(waiting.pop())
            if not waiting:
                raise IllegalFormula("a bracket is closed that was never opened")
            waiting.pop()
            depth -= 1
        else:
            rank = _PRECEDENCE[symbol]
            while waiting and waiting[-1] != "(" and _PRECEDENCE[waiting[-1]] >= rank:
                output.append(waiting.pop())
            waiting.append(symbol)
            value_comes = True
    if value_comes:
        raise IllegalFormula("a number is missing")
    if depth:
        raise IllegalFormula("a bracket is never closed")
    output.extend(reversed(waiting))
    return Formula(tuple(output), tuple(numbers), claim)


def evaluate(formula: Formula) -> Fraction | None:
    """Return the exact value, or None where it divides by zero."""
    stack: list[int | Fraction] = []
    for symbol in formula.postfix:
        if isinstance(symbol, int):
            stack.append(symbol)
            continue
        right, left = stack.pop(), stack.pop()
        if symbol == "+":
            stack.append(left + right)
        elif symbol == "-":
            stack.append(left - right)
        elif symbol == "*":
            stack.append(left * right)
        elif right == 0:
            return None
        else:
            stack.append(Fraction(left, right))
    return Fraction(stack[0])


def _tokens(text: str) -> list[int | str]:
    tokens: list[int | str] = []
    place, end = 0, len(text)
    number_may_be_signed = True
    while place < end:
        character = text[place]
        start = place
        place += 1
        if character in " \t":
            continue
        signed = character == "-" and number_may_be_signed and place < end and text[place] in _DIGITS
        if character in _DIGITS or signed:
            while place < end and text[place] in _DIGITS:
                place += 1
            tokens.append(_integer(text[start:place]))
            number_may_be_signed = False
        elif character in "+-*/()":
            tokens.append(character)
            number_may_be_signed = character != ")"
        else:
            raise IllegalFormula("it holds a character other than digits and + - * / ( )")
        if len(tokens) > MAX_TOKENS:
            raise IllegalFormula("the formula is too long")
    return tokens


def _integer(text: str) -> int:
    digits = text.removeprefix("-")
    if len(digits) > MAX_DIGITS:
        raise IllegalFormula(f"a number has more than {MAX_DIGITS} digits")
    if len(digits) > 1 and digits[0] == "0":
        raise IllegalFormula("a number begins with zero")
    return int(text)


def _read_claim(text: str) -> int:
    text = text.strip(" \t")
    digits = text.removeprefix("-")
    if not digits or not _DIGITS.issuperset(digits):
        raise IllegalFormula("what follows the equals sign is not one whole number")
    return _integer(text)
