"""What the two benchmarks of verifiers share: judge many replies, and hostile ones, and print both tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import process_time
from typing import TypeVar

from holdfast.environments.base import Environment
from holdfast.records import Problem

Judge = TypeVar("Judge", bound=Environment)


def rate(environment: Environment, problems: Sequence[Problem], texts: Sequence[str], *, verdicts: int) -> float:
    """Return verdicts a second of processor time, after one warm pass."""
    for problem, text in zip(problems, texts, strict=True):
        environment.verify(problem, text)
    rounds = max(1, verdicts // len(problems))
    begin = process_time()
    for _ in range(rounds):
        for problem, text in zip(problems, texts, strict=True):
            environment.verify(problem, text)
    return rounds * len(problems) / (process_time() - begin)


def print_tables(
    modes: Mapping[str, Judge],
    problems: Callable[[Judge], Sequence[Problem]],
    replies: Callable[[Judge, Sequence[Problem]], Mapping[str, Sequence[str]]],
    *,
    hostile: Mapping[str, str],
    verdicts: int,
) -> None:
    """Print verdicts a second by kind of reply and mode, and the longest that each hostile reply takes.

    ``replies`` gives one list of replies a kind, in the order of the problems.
    """
    table: dict[str, dict[str, float]] = {}
    for mode, environment in modes.items():
        asked = problems(environment)
        for kind, texts in replies(environment, asked).items():
            table.setdefault(kind, {})[mode] = rate(environment, asked, texts, verdicts=verdicts)
    print(f"| verdicts a second | {' | '.join(modes)} |\n|---|{'---|' * len(modes)}")
    for kind, row in table.items():
        print(f"| {kind} | {' | '.join(f'{row[mode]:,.0f}' for mode in modes)} |")
    print("\n| hostile reply | slowest mode, ms |\n|---|---|")
    for kind, text in hostile.items():
        worst = 0.0
        for environment in modes.values():
            problem = problems(environment)[0]
            environment.verify(problem, "")
            begin = process_time()
            environment.verify(problem, text)
            worst = max(worst, process_time() - begin)
        print(f"| {kind} | {worst * 1e3:.2f} |")
