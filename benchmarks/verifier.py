"""How many replies a second the points game judges, and how long hostile ones take.

    python benchmarks/verifier.py

Prints the tables of ``benchmarks/results/verifier.md``. Processor time of one core, one reply at a time.
"""

from __future__ import annotations

from time import process_time

from holdfast.environments.general_points import GeneralPoints
from holdfast.records import Problem

REPLIES = 20_000
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


def replies(environment: GeneralPoints, problems: list[Problem]) -> dict[str, list[str]]:
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


def rate(environment: GeneralPoints, problems: list[Problem], texts: list[str]) -> float:
    """Verdicts a second, after one warm pass."""
    for problem, text in zip(problems, texts, strict=True):
        environment.verify(problem, text)
    rounds = REPLIES // len(problems)
    begin = process_time()
    for _ in range(rounds):
        for problem, text in zip(problems, texts, strict=True):
            environment.verify(problem, text)
    return rounds * len(problems) / (process_time() - begin)


def main() -> None:
    """Measure and print."""
    modes = {
        "strict, values_formula": GeneralPoints(answer_format="values_formula"),
        "strict, json": GeneralPoints(answer_format="json"),
        "strict, steps": GeneralPoints(answer_format="steps"),
        "legacy, json": GeneralPoints(mode="legacy"),
    }
    table: dict[str, dict[str, float]] = {}
    for mode, environment in modes.items():
        problems = [environment.sample("faces_as_11_12_13", "test", index, seed=0) for index in range(PROBLEMS)]
        for kind, texts in replies(environment, problems).items():
            table.setdefault(kind, {})[mode] = rate(environment, problems, texts)
    print(f"| verdicts a second | {' | '.join(modes)} |\n|---|{'---|' * len(modes)}")
    for kind, row in table.items():
        print(f"| {kind} | {' | '.join(f'{row[mode]:,.0f}' for mode in modes)} |")
    print("\n| hostile reply | slowest mode, ms |\n|---|---|")
    for kind, text in HOSTILE.items():
        worst = 0.0
        for environment in modes.values():
            problem = environment.sample("faces_as_11_12_13", "test", 0, seed=0)
            environment.verify(problem, "")
            begin = process_time()
            environment.verify(problem, text)
            worst = max(worst, process_time() - begin)
        print(f"| {kind} | {worst * 1e3:.2f} |")


if __name__ == "__main__":
    main()
