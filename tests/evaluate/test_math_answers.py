"""Final answers: found, compared exactly, and hostile ones harmless."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest

from holdfast.evaluate import math_answers
from holdfast.evaluate.bounded import Helper, OutOfBounds
from holdfast.evaluate.math_answers import final_answer, math, number, right_answer, same


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"Thus \boxed{42}.", "42"),
        (r"First \boxed{1}, no: \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"$\boxed{x^{2}+1}$", "x^{2}+1"),
        ("The answer is 7/2.", "7/2"),
        ("Final answer: $-3$", "-3"),
        ("so 12 apples and 30 pears", "30"),
        (r"\boxed{\textbf{Tuesday}}", r"\text{Tuesday}"),
        (r"\boxed{\$32{,}348}", "32,348"),
        ("Each gets 6.\n#### 72", "72"),
        (r"\frac{1}{2}", r"\frac{1}{2}"),
        ("$x^2+1$", "x^2+1"),
        ("y = 2x + 3", "y = 2x + 3"),
        ("3 + 4 = 7", "7"),
        ("3 + 4 = 7, so 7 apples", "7"),
        (r"5.4 \text{ cents}", r"5.4 \text{ cents}"),
        ("no number here", None),
        (r"\boxed{", None),
        (r"\boxed{" + "1" * 400 + "}", None),
    ],
)
def test_the_final_answer_is_the_last_box_then_what_is_said_then_a_formula_then_the_last_number(text, answer):
    assert final_answer(text) == answer


def test_only_a_row_may_answer_in_words_alone():
    assert right_answer("no solution") == "no solution"
    assert right_answer("It is so.\nHence it is so.") is None
    assert math(["?"], [r"\boxed{\text{Evelyn}}", r"\boxed{Ann}"], answer=["Evelyn"] * 2) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,024", Fraction(1024)), ("-0.50", Fraction(-1, 2)), ("3/4", Fraction(3, 4)),
        (r"\dfrac{3}{4}", Fraction(3, 4)),
        (r"-\frac34", None), (r"\frac3{4}", Fraction(3, 4)), ("50\\%", Fraction(1, 2)), ("−2", Fraction(-2)),
        ("1/0", None), (r"\frac{1}{0}", None), ("2x", None), ("", None),
    ],
)  # fmt: skip
def test_plain_numbers_are_read_exactly(text, value):
    assert number(text) == value


@pytest.mark.parametrize(
    ("reply", "right", "equal"),
    [
        (r"\boxed{0.5}", r"\boxed{\frac{1}{2}}", True),
        (r"\boxed{1{,}000}", "1000", True),
        (r"\boxed{0.33}", r"\frac{1}{3}", False),
        (r"\boxed{\frac{2}{4}}", "0.5", True),
        (r"\boxed{\frac{2}{3}}", r"\frac{1}{3}", False),
        (r"\boxed{50}", r"50\%", True),
        (r"\boxed{50\%}", "50", True),
        (r"\boxed{50\%}", "0.5", True),
        (r"\boxed{0.5}", "50", False),
        ("I think it is 5", "5", True),
        ("It cannot be known.", "5", False),
    ],
)
def test_numbers_need_no_helper(reply, right, equal, monkeypatch):
    monkeypatch.setattr(math_answers, "_helper", lambda: pytest.fail("asked"))
    assert math(["?"], [reply], answer=[right]) == [float(equal)]


@pytest.mark.parametrize(
    ("reply", "right", "equal"),
    [
        (r"x^2+2x+1", r"(x+1)^2", True),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        (r"(1, 2)", r"(1,2)", True),
        (r"\{1,2,3\}", r"\{3,2,1\}", True),
        (r"(2,1)", r"(1,2)", False),
        (r"[1,2)", r"[1,2]", False),
        (r"5.4", r"5.4 \text{ cents}", True),
        (r"1+2^{2014}", r"2^{2014}+1", True),
        (r"\pi", "3.14", False),
        (r"x^2", "x^3", False),
        (r"\frac{", "1", False),
        ("", "1", False),
    ],
)
def test_formulas_are_compared_by_their_meaning(reply, right, equal):
    assert same(reply or None, right) is equal


HOSTILE = {
    "a tower of powers": r"\boxed{5^{5^{5^{5^5}}}}",
    "a tower without braces": r"\boxed{5^5^5^5^5}",
    "a huge factorial": r"\boxed{(10^{10})!}",
    "a plain factorial": r"\boxed{99999999!}",
    "a huge exponent": r"\boxed{9^{99999999}}",
    "a sum of 20,000 terms": r"\boxed{" + "+".join(["1"] * 20_000) + "}",
    "100,000 brackets": r"\boxed{" + "(" * 100_000 + "1" + ")" * 100_000 + "}",
    "brackets that fit": r"\boxed{" + "(" * 140 + "x" + ")" * 140 + "}",
    "fractions of fractions": r"\boxed{" + r"\frac{1}{1+" * 20 + "x" + "}" * 20 + "}",
    "a factorial of a factorial": r"\boxed{99!!}",
    "a factorial between brackets": r"\boxed{\left(10^{10}\right)!}",
    "a factorial of a power": r"\boxed{10^{9}!}",
    "a choice among too many": r"\boxed{\binom{99999999}{50000000}}",
    "a Gamma function": r"\boxed{\Gamma(10^{10})}",
    "a huge negative exponent": r"\boxed{2^{-99999999}}",
    "a product to a huge bound": r"\boxed{\prod_{k=1}^{100000000} k}",
    "an integral without end": r"\boxed{\int_0^{\infty} e^{-x^x} dx}",
    "a tower of fractions": r"\boxed{" + r"\frac{1}{" * 39 + "x" + "}" * 39 + "}",
    "powers of powers in brackets": r"\boxed{(((9^{99})^{99})^{99})^{99}}",
    "a huge number in words": "The answer is ten to the power of ten to the power of ten.",
    "superscript digits": "\\boxed{5⁵⁵⁵⁵⁵⁵}",
    "digits of another script": "\\boxed{٣^{٩٩٩٩٩٩٩٩}}",
    "marks of no width": "\\boxed{\u200b\u202ex\u200b}",
    "a float's exponent": r"\boxed{1e999999999}",
    "250 signs": r"\boxed{" + "-" * 250 + "1}",
    "code": r"\boxed{__import__('os').system('touch hacked')}",
    "a format string": r"\boxed{%s%s%n{0}}",
    "a megabyte of digits": r"\boxed{" + "9" * 1_000_000 + "}",
    "a null byte": "\\boxed{\x00}",
    "lone surrogates": "\\boxed{\ud800x}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_wrong_within_its_bound_and_the_next_one_is_judged(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    math_answers._same_formula.cache_clear()
    begin = time.monotonic()
    assert math(["?"], [HOSTILE[name]], answer=[r"\boxed{x+1}"]) == [0.0]
    assert time.monotonic() - begin < math_answers.SECONDS + 60
    assert same("1+x", "x+1")
    assert list(tmp_path.iterdir()) == []


HARMLESS = [
    "12!",
    "n!",
    r"\frac{8!}{3!}",
    "2^{100}",
    "(x+1)^{3}",
    r"\binom{10}{3}",
    r"\sqrt{2+\sqrt{3}}",
    "x^{2}+y^{2}",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_an_honest_formula_is_compared(text):
    assert not math_answers._is_a_bomb(text)


def test_what_outlasts_the_bound_is_wrong_and_the_next_one_gets_a_new_helper(monkeypatch):
    math_answers._helper.cache_clear()
    monkeypatch.setattr(math_answers, "SECONDS", 0.5)
    try:
        math_answers._helper().ask({})  # is started: its bound begins after that
        first = math_answers._helper()._process.pid
        assert not same("(x+y+z+w)^{399}", "(x+y+z+w+1)^{399}")
        assert math_answers._helper()._process is None, "it was ended"
        math_answers._helper().seconds = 60
        math_answers._same_formula.cache_clear()
        assert same("1+x", "x+1")
        assert math_answers._helper()._process.pid != first
    finally:
        math_answers._helper.cache_clear()


def test_a_helper_that_hangs_or_dies_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "stubborn.py").write_text(
        "import json, os, sys, time\n"
        "print(json.dumps({'ready': True}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    asked = json.loads(line)\n"
        "    if asked == 'hang': time.sleep(600)\n"
        "    if asked == 'die': os._exit(1)\n"
        "    if asked == 'eat': held = bytearray(1 << 40)\n"
        "    print(json.dumps({'pid': os.getpid()}), flush=True)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    helper = Helper("stubborn", seconds=0.5)
    first = helper.ask("work")["pid"]
    assert helper.ask("work")["pid"] == first
    for deed in ("hang", "die", "eat"):
        with pytest.raises(OutOfBounds):
            helper.ask(deed)
        assert helper.ask("work")["pid"] != first
    helper.end()


def test_without_the_extra_the_way_to_install_it_is_told(monkeypatch):
    from holdfast.errors import UserError

    monkeypatch.setattr(math_answers.importlib.util, "find_spec", lambda _: None)
    math_answers._helper.cache_clear()
    try:
        with pytest.raises(UserError, match=r"holdfast\[math\]"):
            same("x", "y")
    finally:
        math_answers._helper.cache_clear()
