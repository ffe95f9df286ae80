from __future__ import annotations

from fractions import Fraction

import pytest

from holdfast.environments.general_points.formula import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    IllegalFormula,
    evaluate,
    read_formula,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("4*3+2+10", 24),
        ("2+3*4", 14),
        ("10-4-3", 3),
        ("24/4/2", 3),
        ("24/(4/2)", 12),
        ("8/(3-8/3)", 24),
        ("((((7))))", 7),
        (" 4 * 3 +\t2 + 10 = 24 ", 24),
        ("-3+27", 24),
        ("3-(-21)", 24),
        ("3*-8", -24),
        ("1/3", Fraction(1, 3)),
    ],
)
def test_a_formula_has_its_exact_value(text: str, value: int | Fraction) -> None:
    assert evaluate(read_formula(text)) == value


@pytest.mark.parametrize("text", ["1/0", "1/(2-2)", "1/(0/5)", "0/0"])
def test_division_by_zero_has_no_value(text: str) -> None:
    assert evaluate(read_formula(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "=24",
        "()",
        "(",
        ")",
        "(1",
        "1)",
        "1 2",
        "1(2)",
        "(1)(2)",
        "(1)2",
        "1+",
        "+1",
        "*1",
        "1**2",
        "4//2",
        "--1",
        "- 1",
        "-(1)",
        "04",
        "1.5",
        "1e3",
        "0x10",
        "1_000",
        "3×8",
        "3−8",
        "8÷2",
        "²",
        "٣+٤",
        "１+２",
        "1+a",
        "1\n+2",
        "1+2=",
        "1+2=3=3",
        "1+2=x",
        "24=6*3+6",
        "1+2=03",
        "1234567",
        "1+1=1234567",
    ],
)
def test_what_is_not_a_formula_is_illegal(text: str) -> None:
    with pytest.raises(IllegalFormula):
        read_formula(text)


def test_depth_and_length_are_capped() -> None:
    evaluate(read_formula("(" * MAX_DEPTH + "1" + ")" * MAX_DEPTH))
    with pytest.raises(IllegalFormula, match="deep"):
        read_formula("(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1))
    with pytest.raises(IllegalFormula, match="longer"):
        read_formula("1+" * MAX_CHARACTERS + "1")
    with pytest.raises(IllegalFormula, match="too long"):
        read_formula("1+" * 101 + "1")


def test_numbers_and_claim_are_reported() -> None:
    formula = read_formula("(11-(-3))*2=28")
    assert formula.numbers == (11, -3, 2)
    assert formula.claim == 28
    assert read_formula("1+2").claim is None
