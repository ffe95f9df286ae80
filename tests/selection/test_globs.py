from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import SelectionError
from holdfast.selection.globs import matches

NAME = "model.layers.1.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("pattern", "hit"),
    [
        ("layers.1", True),
        ("layers.10", False),
        ("layers", True),
        ("layer", False),
        ("self_attn", True),
        ("attn", False),
        ("*attn", True),
        ("self_attn.*.weight", True),
        ("self_attn.*.*.weight", False),
        ("self_attn.**.weight", True),
        ("model.**.weight", True),
        ("self_attn.q_proj.**.weight", True),  # ** may stand for no segment
        ("layers.?", True),
        ("layers.??", False),
        ("?_proj", True),
        ("**", True),
        ("*", True),
        ("weight", True),
        ("eight", False),
        ("weight.model", False),
        (NAME, True),
        ("LAYERS.1", False),
    ],
)
def test_a_pattern_matches_a_run_of_whole_segments(pattern: str, hit: bool) -> None:
    assert matches(pattern, NAME) is hit


def test_one_block_never_matches_another_whose_number_begins_alike() -> None:
    names = [f"model.layers.{block}.mlp.up_proj.weight" for block in range(30)]
    assert [name for name in names if matches("layers.1", name)] == ["model.layers.1.mlp.up_proj.weight"]
    assert [name for name in names if matches("model.layers.2.**", name)] == ["model.layers.2.mlp.up_proj.weight"]


@pytest.mark.parametrize(
    "pattern", ["", ".", "a..b", ".*q_proj.*", "(q|k)_proj", "layers.[0-9]", "a b", "^model", "q\n"]
)
def test_what_is_no_glob_is_refused_with_an_example(pattern: str) -> None:
    with pytest.raises(SelectionError, match=r"layers\.3\.self_attn"):
        matches(pattern, NAME)


SEGMENT = st.text(alphabet="ab1_", min_size=1, max_size=3)
PIECE = st.one_of(SEGMENT, st.just("*"), st.just("**"), SEGMENT.map(lambda word: word + "*"))


def _by_hand(pattern: list[str], name: list[str]) -> bool:
    """Match by recursion: the other road to the same answer."""

    def segment(glob: str, word: str) -> bool:
        return word.startswith(glob[:-1]) if glob.endswith("*") else glob == word

    def head(pattern: list[str], name: list[str]) -> bool:
        if not pattern:
            return True
        if pattern[0] == "**":
            return head(pattern[1:], name) or (bool(name) and head(pattern, name[1:]))
        return bool(name) and segment(pattern[0], name[0]) and head(pattern[1:], name[1:])

    return any(head(pattern, name[start:]) for start in range(len(name) + 1))


@given(st.lists(PIECE, min_size=1, max_size=4), st.lists(SEGMENT, min_size=1, max_size=5))
def test_the_regular_expression_agrees_with_recursion(pattern: list[str], name: list[str]) -> None:
    assert matches(".".join(pattern), ".".join(name)) == _by_hand(pattern, name)
