from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from holdfast.errors import SelectionError, UnknownName
from holdfast.models.roles import Role
from holdfast.selection import Layers, Match, Selection, parse
from holdfast.selection.base import parse_layers, spans, take


def test_a_recipe_is_checked_without_torch() -> None:
    code = (
        "import sys; from holdfast.selection import parse; parse({'preset': 'mlp', 'layers': 'first:2'}); "
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("spec", "selection"),
    [
        ("full", Selection(preset="full")),
        ("attention", Selection(preset="attention")),
        ("ffn", Selection(preset="mlp")),
        ("mixer", Selection(roles=(Role.MIXER,))),
        ({"preset": "ffn"}, Selection(preset="mlp")),
        ({"roles": "norm"}, Selection(roles=(Role.NORM,))),
        ({"roles": ["norm", "router", "norm"]}, Selection(roles=(Role.NORM, Role.ROUTER))),
        ({"preset": "attention", "layers": "last:4"}, Selection("attention", layers=Layers("last", 4))),
        ({"include": "lm_head"}, Selection(include=("lm_head",))),
        (
            {"preset": "full", "match": {"parameters_of": "attention"}},
            Selection("full", match=Match((Role.ATTENTION,))),
        ),
        (
            {"preset": "ffn", "match": {"parameters_of": ["attention", "cross_attention"], "from": "spread"}},
            Selection("mlp", match=Match((Role.ATTENTION, Role.CROSS_ATTENTION), "spread")),
        ),
    ],
)
def test_a_spec_is_read_and_written_back(spec: Any, selection: Selection) -> None:
    assert parse(spec) == selection
    assert parse(selection.to_json()) == selection


@pytest.mark.parametrize(
    ("value", "layers"),
    [
        ("first:8", Layers("first", 8)),
        (" spread : 4 ", Layers("spread", 4)),
        ("2-5", Layers(indices=(2, 3, 4, 5))),
        ("7", Layers(indices=(7,))),
        (7, Layers(indices=(7,), each=True)),
        ([3, 0, 3], Layers(indices=(0, 3), each=True)),
    ],
)
def test_layers_are_read(value: object, layers: Layers) -> None:
    assert parse_layers(value) == layers


@pytest.mark.parametrize(
    "value", ["first:0", "first", "middle:2", "5-2", "-1", -1, [], [0, -1], [0, "1"], True, [True], 1.5, "0,3", {}]
)
def test_layers_that_mean_nothing_are_refused(value: object) -> None:
    with pytest.raises(SelectionError, match="first:8, last:4, spread:4, 2-5"):
        parse_layers(value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("atention", 'Did you mean "attention"'),
        ({"preset": "attn"}, "no such preset: 'attn'"),
        ({"roles": ["feedforward"]}, "no such role: 'feedforward'"),
        ({"rolse": ["mlp"]}, 'Did you mean "roles"'),
        ({"preset": "mlp", "match": {"parameter_of": "attention"}}, 'Did you mean "parameters_of"'),
        ({"preset": "mlp", "match": {"parameters_of": "attention", "from": "middle"}}, "no such start"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(spec: Any, message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        parse(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "nothing to train"),
        ({"exclude": ["lm_head"]}, "nothing to train"),
        ({"layers": "first:2"}, "nothing to train"),
        ({"roles": []}, "roles: .* is not a list of words"),
        ({"include": [3]}, "include: .* is not a list of words"),
        ({"include": [".*q_proj"]}, "not a glob"),
        ({"preset": "mlp", "exclude": ["a..b"]}, "not a glob"),
        ({"preset": "mlp", "match": {"parameters_of": "attention"}, "layers": "first:2"}, "keep one of them"),
        ({"preset": "mlp", "match": {"parameters_of": "attention"}, "include": ["lm_head"]}, "cannot be combined"),
        ({"preset": "mlp", "match": {}}, "parameters_of is missing"),
        ({"preset": "mlp", "match": {"parameters_of": "full"}}, "nothing to match"),
        ({"preset": "mlp", "match": "attention"}, "match: {parameters_of: attention}"),
        ({"include": ["lm_head"], "match": {"parameters_of": "attention"}}, "cannot be combined"),
        (["attention"], "a name or a mapping"),
        (None, "a name or a mapping"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(spec: Any, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        parse(spec)


def test_spread_blocks_are_the_centers_of_equal_parts() -> None:
    assert take(range(32), 4, start="spread") == (4, 12, 20, 28)
    assert take(range(7), 1, start="spread") == (3,)
    for blocks in range(1, 12):
        for count in range(1, blocks + 1):
            taken = take(range(blocks), count, start="spread")
            assert len(set(taken)) == count
            assert max(taken) < blocks


def test_spans_are_short() -> None:
    assert spans([]) == ""
    assert spans({3, 1, 2, 9}) == "1-3, 9"
