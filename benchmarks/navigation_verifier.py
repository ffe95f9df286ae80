"""How many replies a second navigation judges, and how long hostile ones take.

    python benchmarks/navigation_verifier.py

Prints the tables of ``benchmarks/results/navigation_verifier.md``. Processor time of one core, one reply at a time.
"""

from __future__ import annotations

from time import process_time

from holdfast.environments.navigation import Navigation
from holdfast.records import Problem

REPLIES = 50_000
ROUTES = 100
HOSTILE = {
    "1,000,000 opening brackets": "(" * 1_000_000,
    "a megabyte of blanks": " " * 1_000_000,
    "calls without end": "turn_direction(" * 70_000,
    "unclosed action fields": '"action": "' * 90_000,
    "brackets of a JSON list": "[" * 1_000_000,
    "braces": "{" * 1_000_000,
    "lone surrogates": "\ud800" * 500_000,
}


def replies(environment: Navigation, points: list[Problem]) -> dict[str, list[str]]:
    """One list of replies a kind, in the order of ``points``."""
    right = [environment.demonstrate(point) for point in points]
    bare = Navigation(rules=environment.rules, answer_format="action")
    return {
        "right": right,
        "wrong action": [
            text.replace("forward()", "stop()").replace("turn_direction(", "turn_direction(s") for text in right
        ],
        "the trained space's words": [
            environment.demonstrate(Problem(**{**point.__dict__, "rule": environment.rules[0]})) for point in points
        ],
        "action in free words": [f"I see it now. So: {bare.demonstrate(point)} it is" for point in points],
        "no action": ["I do not know where to go from here, so I wait for a while." for _ in right],
    }


def rate(environment: Navigation, points: list[Problem], texts: list[str]) -> float:
    """Verdicts a second, after one warm pass."""
    for point, text in zip(points, texts, strict=True):
        environment.verify(point, text)
    rounds = max(1, REPLIES // len(points))
    begin = process_time()
    for _ in range(rounds):
        for point, text in zip(points, texts, strict=True):
            environment.verify(point, text)
    return rounds * len(points) / (process_time() - begin)


def main() -> None:
    """Measure and print."""
    modes = {
        "strict, action": Navigation(answer_format="action", prompt_style="terse"),
        "strict, numbered": Navigation(answer_format="numbered", prompt_style="terse"),
        "strict, json": Navigation(),
        "legacy, json": Navigation(mode="legacy"),
    }
    table: dict[str, dict[str, float]] = {}
    for mode, environment in modes.items():
        routes = [environment.sample("relative", "test", index, seed=0) for index in range(ROUTES)]
        points = [point for route in routes for point in environment.steps(route)]
        for kind, texts in replies(environment, points).items():
            table.setdefault(kind, {})[mode] = rate(environment, points, texts)
    print(f"| verdicts a second | {' | '.join(modes)} |\n|---|{'---|' * len(modes)}")
    for kind, row in table.items():
        print(f"| {kind} | {' | '.join(f'{row[mode]:,.0f}' for mode in modes)} |")
    print("\n| hostile reply | slowest mode, ms |\n|---|---|")
    for kind, text in HOSTILE.items():
        worst = 0.0
        for environment in modes.values():
            problem = environment.sample("relative", "test", 0, seed=0)
            environment.verify(problem, "")
            begin = process_time()
            environment.verify(problem, text)
            worst = max(worst, process_time() - begin)
        print(f"| {kind} | {worst * 1e3:.2f} |")


if __name__ == "__main__":
    main()
