"""Eq. 3 of "SFT without overfitting" against numbers worked out by hand and against brute force."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import SelectionError
from holdfast.models.roles import ParameterRole, Role
from holdfast.models.structure import roles
from holdfast.selection import matched_depth, parse, select
from holdfast.selection.base import Start

HIDDEN, INNER, KEYS = 4096, 14336, 8 * 128
ATTENTION = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KEYS  # 41.94 M a block of Llama-3.2-11B-Vision
MLP = 3 * HIDDEN * INNER  # 176.16 M
CROSSING = (3, 8, 13, 18, 23, 28, 33, 38)


def eleven_billion() -> tuple[ParameterRole, ...]:
    """The text blocks of Llama-3.2-11B-Vision in shapes only: 40 blocks, 8 of them cross-attention."""
    found = []
    for layer in range(40):
        role = Role.CROSS_ATTENTION if layer in CROSSING else Role.ATTENTION
        shapes = {
            "q_proj": (HIDDEN, HIDDEN),
            "k_proj": (KEYS, HIDDEN),
            "v_proj": (KEYS, HIDDEN),
            "o_proj": (HIDDEN, HIDDEN),
        }
        found += [ParameterRole(f"layers.{layer}.attn.{name}", role, layer, shape) for name, shape in shapes.items()]
        found += [
            ParameterRole(f"layers.{layer}.mlp.{k}", Role.MLP, layer, (INNER, HIDDEN)) for k in ("up", "gate", "down")
        ]
    return tuple(found)


def test_the_blocks_have_the_papers_sizes() -> None:
    assert (round(ATTENTION / 1e6, 2), round(MLP / 1e6, 2)) == (41.94, 176.16)


@pytest.mark.parametrize(
    ("preset", "text_only", "depth", "target"),
    [
        ("mlp", False, 10, 40 * ATTENTION),  # 1677.7 / 176.16 = 9.52
        ("full", False, 8, 40 * ATTENTION),  # 1677.7 / 218.10 = 7.69
        ("mlp", True, 8, 32 * ATTENTION),  # 1342.2 / 176.16 = 7.62
        ("full", True, 6, 32 * ATTENTION),  # 1342.2 / 218.10 = 6.15
    ],
)
def test_matched_depth_of_the_papers_model(preset: str, text_only: bool, depth: int, target: int) -> None:
    of = ["attention"] if text_only else ["attention", "cross_attention"]
    spec = {"preset": preset, "match": {"parameters_of": of}}
    matched = select(eleven_billion(), parse(spec), text_only=text_only).matched
    assert matched is not None
    assert (matched.depth, matched.target) == (depth, target)
    per_block = MLP + (ATTENTION if preset == "full" else 0)
    assert matched.n_parameters == depth * per_block
    assert matched.mismatch == pytest.approx(depth * per_block / target - 1)


def test_blocks_that_do_not_run_on_text_are_skipped_by_depth() -> None:
    spec = {"preset": "full", "match": {"parameters_of": "attention"}}
    selected = select(eleven_billion(), parse(spec), text_only=True)
    assert selected.matched is not None
    assert selected.matched.layers == (0, 1, 2, 4, 5, 6)
    assert not any(name.startswith("layers.3.") for name in selected.names)
    assert any("blocks 3, 8, 13, 18, 23, 28, 33, 38 only attend to images" in note for note in selected.notes)


@pytest.mark.parametrize(("start", "layers"), [("first", (0, 1)), ("last", (5, 6)), ("spread", (1, 5))])
def test_the_same_count_can_be_taken_from_either_end_or_spread(start: str, layers: tuple[int, ...]) -> None:
    seven = [p for p in eleven_billion() if p.layer in range(14, 18) or p.layer in range(19, 22)]
    order = {layer: block for block, layer in enumerate(sorted({p.layer or 0 for p in seven}))}
    found = [ParameterRole(p.name, p.role, order[p.layer or 0], p.shape) for p in seven]
    spec = {"preset": "mlp", "match": {"parameters_of": "attention", "from": start}}
    matched = select(found, parse(spec)).matched
    assert matched is not None
    assert matched.layers == layers  # 7 * 41.94 / 176.16 = 1.67


def test_the_real_eleven_billion_model_matches_at_the_same_depths() -> None:
    config = hf.MllamaConfig(
        text_config=hf.MllamaTextConfig(), vision_config=hf.MllamaVisionConfig(num_hidden_layers=1)
    )
    with torch.device("meta"):
        found = roles(hf.MllamaForConditionalGeneration(config))
    for preset, text_only, depth in [("mlp", False, 10), ("full", False, 8), ("mlp", True, 8), ("full", True, 6)]:
        of = ["attention"] if text_only else ["attention", "cross_attention"]
        spec = {"preset": preset, "match": {"parameters_of": of}}
        matched = select(found, parse(spec), text_only=text_only).matched
        assert matched is not None
        assert matched.depth == depth


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(1, 60), st.sampled_from(["first", "last"]))
def test_no_other_depth_is_nearer(sizes: list[int], target: int, start: Start) -> None:
    depth = matched_depth(dict(enumerate(sizes)), target, start=start)
    ordered = sizes if start == "first" else sizes[::-1]
    misses = [(target - sum(ordered[:length])) ** 2 for length in range(1, len(sizes) + 1)]
    assert misses[depth - 1] == min(misses)
    assert depth == 1 or misses[depth - 2] > misses[depth - 1]  # of equals the smaller


def test_a_target_that_the_model_does_not_have_is_refused() -> None:
    spec = {"preset": "mlp", "match": {"parameters_of": "mixer"}}
    with pytest.raises(SelectionError, match=r"no parameters of mixer.*It has: attention, cross_attention, mlp"):
        select(eleven_billion(), parse(spec))
