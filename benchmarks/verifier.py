"""How many replies a second the points game judges, and how long hostile ones take.

    python benchmarks/verifier.py

Prints the tables of ``benchmarks/results/verifier.md``. Processor time of one core, one reply at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

from judging import print_tables

from holdfast.environments.general_points import GeneralPoints
from holdfast.records import Problem

PROBLEMS = 500
HOSTILE = {
    "a number of 1,000,000 digits": "9" * 1_000_000,
    "1,000,000 opening brackets": "(" * 1_000_000,
    "a power tower": "9**" * 300_000 + "9",
    "a megabyte of blanks": " " * 1_000_000,
    "unclosed formula fields": '"formula": "' * 80_000,
    "steps without end": "1=1; " * 200_000,
    "brackets of a JSON list": "[" * 1_000_000,
    "digits of another script": "٣" * 500_000,
    "lone surrogates": "\ud800" * 500_000,
}


def replies(environment: GeneralPoints, problems: Sequence[Problem]) -> dict[str, list[str]]:
    """One list of replies a kind, in the order of ``problems``."""
    right = [environment.demonstrate(problem) for problem in problems]
    bare = GeneralPoints(answer_format="formula")
    return {
        "right": right,
        "wrong value": [text.replace("*", "+").replace("-", "+") for text in right],
        "wrong numbers": [text.replace("=24", "*7=24") for text in right],
        "illegal formula": [text.replace("*", "**").replace("+", "++").replace("-", "--") for text in right],
        "formula in free words": [f"I tried a few. So: {bare.demonstrate(problem)} it is" for problem in problems],
        "no formula": ["I do not know how to make that number from these cards." for _ in right],
    }


def problems(environment: GeneralPoints) -> list[Problem]:
    """The same hands for every mode."""
    return [environment.sample("faces_as_11_12_13", "test", index, seed=0) for index in range(PROBLEMS)]


def main() -> None:
    """Measure and print."""
    modes = {
        "strict, values_formula": GeneralPoints(answer_format="values_formula"),
        "strict, json": GeneralPoints(answer_format="json"),
        "strict, steps": GeneralPoints(answer_format="steps"),
        "legacy, json": GeneralPoints(mode="legacy"),
    }
    print_tables(modes, problems, replies, hostile=HOSTILE, verdicts=20_000)


if __name__ == "__main__":
    main()
