"""How fast hands of the points game are solved, counted and dealt, beside a brute force that tries every formula.

    python benchmarks/solver.py

Prints the table of ``benchmarks/results/solver.md``. Times are processor time of one core; tables are cold at the start
of each row.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from itertools import combinations_with_replacement, permutations, product
from random import Random
from time import process_time

from holdfast.environments.general_points import GeneralPoints, solutions, solver, splits

TARGET = 24
BRACKETINGS = (
    "{0}{4}{1}{5}{2}{6}{3}",
    "({0}{4}{1}){5}{2}{6}{3}",
    "{0}{4}({1}{5}{2}){6}{3}",
    "{0}{4}{1}{5}({2}{6}{3})",
    "({0}{4}{1}){5}({2}{6}{3})",
    "({0}{4}{1}{5}{2}){6}{3}",
    "{0}{4}({1}{5}{2}{6}{3})",
    "(({0}{4}{1}){5}{2}){6}{3}",
    "({0}{4}({1}{5}{2})){6}{3}",
    "{0}{4}(({1}{5}{2}){6}{3})",
    "{0}{4}({1}{5}({2}{6}{3}))",
)


def brute_force(values: tuple[int, ...]) -> list[str]:
    """Every formula over four values that makes the target: all orders, operators and bracketings, by ``eval``."""
    found = []
    for numbers in set(permutations(values)):
        for operators in product("+-*/", repeat=3):
            for bracketing in BRACKETINGS:
                formula = bracketing.format(*numbers, *operators)
                try:
                    if abs(eval(formula) - TARGET) < 1e-9:  # our own text, never a model's
                        found.append(formula)
                except ZeroDivisionError:
                    continue
    return found


def forget() -> None:
    """Empty the tables, so that a row pays for them."""
    solver._reach.cache_clear()
    solver._search.cache_clear()
    solver._possible.cache_clear()
    solver.splits_in_two.cache_clear()
    solutions.all_forms.cache_clear()
    solutions._forms_making.cache_clear()


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    begin = process_time()
    work()
    return process_time() - begin


def per_hand(hands: list[tuple[int, ...]], work: Callable[[tuple[int, ...]], object]) -> str:
    """Median and worst time of one hand with cold tables, in words."""
    times = []
    for hand in hands:
        forget()
        times.append(seconds(lambda hand=hand: work(hand)))  # type: ignore[misc]
    return f"median {statistics.median(times) * 1e3:.2f} ms, worst {max(times) * 1e3:.1f} ms (n = {len(hands)})"


def main() -> None:
    """Measure and print."""
    rng = Random(0)
    four = list(combinations_with_replacement(range(1, 14), 4))
    print("| what | time |\n|---|---|")
    forget()
    whole = seconds(lambda: [solver.solve(hand, TARGET) for hand in four])
    print(f"| all {len(four):,} four-card hands, solved | {whole:.2f} s |")
    forget()
    print(
        f"| all {len(four):,}, solvable or not | {seconds(lambda: [solver.solvable(h, TARGET) for h in four]):.2f} s |"
    )
    forget()
    counted = seconds(lambda: [solutions.difficulty(hand, TARGET) for hand in four])
    print(f"| all {len(four):,}, distinct solutions counted | {counted:.2f} s |")
    for cards, hands in ((4, 200), (5, 60), (6, 20)):
        drawn = [tuple(rng.randint(1, 13) for _ in range(cards)) for _ in range(hands)]
        print(f"| one hand of {cards}, solved, cold | {per_hand(drawn, lambda hand: solver.solve(hand, TARGET))} |")
    for cards, hands in ((5, 30), (6, 5)):
        drawn = [tuple(rng.randint(1, 13) for _ in range(cards)) for _ in range(hands)]
        counts = per_hand(drawn, lambda hand: solutions.difficulty(hand, TARGET))
        print(f"| one hand of {cards}, distinct solutions counted, cold | {counts} |")
    some = rng.sample(four, 20)
    brute = sum(seconds(lambda hand=hand: brute_force(hand)) for hand in some) / len(some)  # type: ignore[misc]
    forget()
    ours = whole / len(four)
    print(f"| brute force with `eval`, a hand | {brute * 1e3:.0f} ms (n = {len(some)}) |")
    print(f"| brute force over ours, four cards | {brute / ours:,.0f} times |")
    assert all(bool(brute_force(hand)) == solver.solvable(hand, TARGET) for hand in some)
    splits.hand_kinds.cache_clear()
    environment = GeneralPoints()
    first = seconds(lambda: environment.sample("faces_as_10", "train", 0, seed=0))
    rows = seconds(lambda: [environment.sample("faces_as_10", "train", index, seed=0) for index in range(20_000)])
    print(f"| first problem of an environment | {first * 1e3:.0f} ms |")
    print(f"| problems dealt after that | {20_000 / rows:,.0f} a second |")


if __name__ == "__main__":
    main()
