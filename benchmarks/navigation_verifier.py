"""How many replies a second navigation judges, and how long hostile ones take.

    python benchmarks/navigation_verifier.py

Prints the tables of ``benchmarks/results/navigation_verifier.md``. Processor time of one core, one reply at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

from judging import print_tables

from holdfast.environments.navigation import Navigation
from holdfast.records import Problem

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


def replies(environment: Navigation, points: Sequence[Problem]) -> dict[str, list[str]]:
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


def points(environment: Navigation) -> list[Problem]:
    """All points of the same routes for every mode."""
    routes = (environment.sample("relative", "test", index, seed=0) for index in range(ROUTES))
    return [point for route in routes for point in environment.steps(route)]


def main() -> None:
    """Measure and print."""
    modes = {
        "strict, action": Navigation(answer_format="action", prompt_style="terse"),
        "strict, numbered": Navigation(answer_format="numbered", prompt_style="terse"),
        "strict, json": Navigation(),
        "legacy, json": Navigation(mode="legacy"),
    }
    print_tables(modes, points, replies, hostile=HOSTILE, verdicts=50_000)


if __name__ == "__main__":
    main()
