"""The solver against brute force, published counts, and itself."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations_with_replacement, permutations
from math import factorial, prod
from random import Random

import pytest

from holdfast.environments.general_points.formula import evaluate, read_formula
from holdfast.environments.general_points.solutions import all_forms, difficulty, solutions
from holdfast.environments.general_points.solver import render, solvable, solve, steps

RANK_MULTISETS = list(combinations_with_replacement(range(1, 14), 4))


def everything(values: tuple[int, ...]) -> set[Fraction]:
    """All that the values can make, by parting them in every way: no tables, no goals, plain Fractions."""
    if len(values) == 1:
        return {Fraction(values[0])}
    made = set()
    places = range(len(values))
    for mask in range(1, 2 ** len(values) - 1):
        left = everything(tuple(values[k] for k in places if mask >> k & 1))
        right = everything(tuple(values[k] for k in places if not mask >> k & 1))
        for a in left:
            for b in right:
                made |= {a + b, a - b, a * b} | ({a / b} if b else set())
    return made


def ordered(hand: tuple[int, ...]) -> int:
    return factorial(len(hand)) // prod(factorial(hand.count(rank)) for rank in set(hand))


@pytest.mark.parametrize(("faces", "multisets", "hands"), [((10, 10, 10), 1236, 20876), ((11, 12, 13), 1362, 22615)])
def test_as_many_hands_are_solvable_as_published(faces: tuple[int, int, int], multisets: int, hands: int) -> None:
    worth = [*range(1, 11), *faces]
    good = [hand for hand in RANK_MULTISETS if solvable([worth[rank - 1] for rank in hand], 24)]
    assert len(RANK_MULTISETS) == 1820
    assert len(good) == multisets
    assert sum(ordered(hand) for hand in good) == hands


def test_every_four_card_hand_is_solved_right_or_has_no_solution() -> None:
    for hand in RANK_MULTISETS:
        tree = solve(hand, 24)
        assert (tree is not None) == solvable(hand, 24)
        if tree is not None:
            formula = read_formula(render(tree))
            assert sorted(formula.numbers) == list(hand)
            assert evaluate(formula) == 24


@pytest.mark.parametrize("values", [(3, 3, 8), (1, 5, 13), (2, 7, 7), (-3, 4, 10), (-5, -2, 6), (26, 2, 2)])
def test_three_cards_reach_exactly_what_brute_force_reaches(values: tuple[int, ...]) -> None:
    reachable = everything(values)
    for target in range(-60, 90):
        assert solvable(values, target) == (target in reachable), target


@pytest.mark.parametrize("seed", range(6))
def test_four_cards_reach_exactly_what_brute_force_reaches(seed: int) -> None:
    rng = Random(seed)
    values = tuple(rng.choice([rng.randint(1, 13), -rng.randint(1, 13)]) for _ in range(4))
    reachable = everything(values)
    for target in range(-40, 60):
        found = solve(values, target)
        assert solvable(values, target) == (found is not None) == (target in reachable), target
        assert (difficulty(values, target) > 0) == (target in reachable), target
        if found is not None:
            formula = read_formula(render(found))
            assert sorted(formula.numbers) == sorted(values)
            assert evaluate(formula) == target


@pytest.mark.parametrize("count", [5, 6])
def test_five_and_six_cards_are_solved_right(count: int) -> None:
    rng = Random(count)
    solved = 0
    for _ in range(12):
        values = [rng.randint(1, 13) for _ in range(count)]
        tree = solve(values, 24)
        assert (tree is not None) == solvable(values, 24)
        if tree is not None:
            formula = read_formula(render(tree))
            assert sorted(formula.numbers) == sorted(values)
            assert evaluate(formula) == 24
            solved += 1
    assert solved >= 10


def test_unsolvable_hands_of_five_cards_are_those_of_brute_force() -> None:
    for values in [(1, 1, 1, 1, 1), (1, 1, 1, 1, 2), (1, 1, 1, 1, 7), (13, 13, 13, 13, 1)]:
        assert solvable(values, 24) == (Fraction(24) in everything(values))


def test_three_three_eight_eight_has_one_solution() -> None:
    assert solutions([8, 3, 3, 8], 24) == ("8/(3-8/3)",)
    assert render(solve([3, 8, 3, 8], 24) or 0) == "(8/(3-(8/3)))"


def test_the_solution_does_not_depend_on_the_order_of_the_cards() -> None:
    assert len({render(solve(order, 24) or 0) for order in permutations((4, 3, 2, 10))}) == 1


def test_a_solution_without_fractions_or_negative_steps_is_preferred() -> None:
    for hand in RANK_MULTISETS:
        tree = solve(hand, 24)
        if tree is None or all("/" not in text for text in solutions(hand, 24)):
            continue
        plain = any(is_plain(text) for text in solutions(hand, 24))
        assert not plain or is_plain(render(tree)), (hand, render(tree))


def is_plain(text: str) -> bool:
    """Whether a formula has a form without division; a weaker demand than what the solver prefers."""
    return "/" not in text or all("/" not in line.partition("=")[2] for line in steps_of(text))


def steps_of(text: str) -> list[str]:
    """Intermediate results of a formula, read again from its text."""
    stack: list[object] = []
    for symbol in read_formula(text).postfix:
        if isinstance(symbol, int):
            stack.append(symbol)
        else:
            right, left = stack.pop(), stack.pop()
            stack.append((symbol, left, right))
    return steps(stack[0])  # type: ignore[arg-type]


def test_forms_are_counted_once_each() -> None:
    # 2 * 3 formulas over two cards; for three and four unequal cards the counts of the module's docstring.
    primes = (101, 1009, 10007, 100003)
    counts = [sum(len(forms) for forms in all_forms(primes[:n]).values()) for n in (1, 2, 3, 4)]
    assert counts == [1, 6, 68, 1260]
    # What four large unequal primes can make differs wherever the formulas differ as functions: OEIS A140606.
    assert [len(all_forms(primes[:n])) for n in (1, 2, 3, 4)] == [1, 6, 68, 1170]


def test_every_listed_solution_is_right_and_listed_once() -> None:
    for values in [(4, 3, 2, 10), (1, 1, 12, 12), (5, 5, 5, 1), (-3, 4, 6, 9)]:
        texts = solutions(values, 24)
        assert len(texts) == len(set(texts)) == difficulty(values, 24)
        for text in texts:
            formula = read_formula(text)
            assert sorted(formula.numbers) == sorted(values)
            assert evaluate(formula) == 24


def test_solutions_are_those_of_brute_force_up_to_their_form() -> None:
    assert solutions([2, 3, 4], 24) == ("2*3*4",)
    assert solutions([1, 12, 2], 24) == ("1*12*2", "12*2/1")
    assert solutions([4, 3, 2, 10], 24) == (
        "(10+2-4)*3",
        "(10-4/2)*3",
        "(3+4)*2+10",
        "10*3-2-4",
        "10+2+3*4",
    )


def test_steps_follow_the_formula_and_write_fractions_and_negatives_in_brackets() -> None:
    tree = solve([3, 3, 8, 8], 24)
    assert tree is not None
    assert steps(tree) == ["8/3=8/3", "3-(8/3)=1/3", "8/(1/3)=24"]
    assert steps(("-", 3, -21)) == ["3-(-21)=24"]
    assert render(("-", 3, -21)) == "(3-(-21))"
