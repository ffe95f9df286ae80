"""The last bit of a healed weight: rounded once, nothing moved that need not move, in pieces as in one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from holdfast.heal.arithmetic import CACHED, blend, take, together
from holdfast.heal.base import Edit
from holdfast.models.pairs import same_bits
from holdfast.spectral.update import Update

HALF = (torch.bfloat16, torch.float16)
STRENGTHS = (0.1, 0.3, 0.5, 0.77, 1.0)


def pair(base: Any, tuned: Any, *, size: int = 30_000, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return flat weights; a tenth did not move, and some are zeros of either sign."""
    generator = torch.Generator().manual_seed(seed)
    one = torch.randn(size, generator=generator, dtype=torch.float64) * 0.05
    moved = torch.rand(size, generator=generator) > 0.1
    other = one + moved * 0.01 * torch.randn(size, generator=generator, dtype=torch.float64)
    for values in (one, other):
        values[:20], values[20:40] = 0.0, -0.0
    return one.to(base), other.to(base).to(tuned)


def ulp(values: np.ndarray, dtype: Any) -> np.ndarray:
    bits = {torch.bfloat16: 8, torch.float16: 11, torch.float32: 24}[dtype]
    return 2.0 ** (np.maximum(np.frexp(values)[1], np.frexp(torch.finfo(dtype).tiny)[1]) - bits)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_half_precision_result_is_rounded_once(dtype: Any, strength: float) -> None:
    """T10: within half a unit in the last place of the float64 result (and 1e-4 of one for what float32 loses)."""
    base, tuned = pair(dtype, dtype)
    result = tuned.clone()
    done = blend(base, tuned, taken=strength, into=result)
    exact = (1 - strength) * tuned.double().numpy() + strength * base.double().numpy()
    off = np.abs(result.double().numpy() - exact)
    assert (off <= (0.5 + 1e-4) * ulp(exact, dtype)).all()
    assert done.rounding == pytest.approx((off**2).sum(), rel=1e-3, abs=1e-12)
    rounded_twice = (tuned - (strength * (tuned.float() - base.float())).to(dtype)).double().numpy()
    assert strength == 1.0 or (np.abs(rounded_twice - exact) > 0.51 * ulp(exact, dtype)).any()


@pytest.mark.parametrize("dtype", HALF)
def test_an_edit_of_low_rank_is_rounded_once_too(dtype: Any) -> None:
    base, tuned = (t.reshape(150, 200) for t in pair(dtype, dtype))
    generator = torch.Generator().manual_seed(1)
    left, right = (0.02 * torch.randn(size, 6, generator=generator) for size in (150, 200))
    update, result = Update(base, tuned), tuned.clone()
    done = take(update, Edit(share=0.4, left_MK=left, right_NK=right), strength=0.8, into=result)
    b, t, low = base.double().numpy(), tuned.double().numpy(), (left.double() @ right.double().T).numpy()
    edit = 0.4 * (t - b) + low
    exact = t - 0.8 * edit
    assert (np.abs(result.double().numpy() - exact) <= (0.5 + 1e-3) * ulp(exact, dtype)).all()
    assert done.energy == pytest.approx(((t - b) ** 2).sum(), rel=1e-5)
    assert done.undone == pytest.approx(0.8 * (edit * (t - b)).sum(), rel=1e-4)
    assert done.edited == pytest.approx(0.64 * (edit**2).sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("base", "tuned"),
    [(d, d) for d in (*HALF, torch.float32, torch.float64)]
    + [(torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32), (torch.float16, torch.bfloat16)],
)
def test_all_of_it_taken_back_is_the_base_bit_for_bit(base: Any, tuned: Any) -> None:
    """T9; where the files have different dtypes, the base in that of the tuned one."""
    one, other = pair(base, tuned)
    result = other.clone()
    blend(one, other, taken=1.0, into=result)
    assert same_bits(result, one.to(tuned))


@pytest.mark.parametrize("dtype", [*HALF, torch.float32, torch.float64])
@pytest.mark.parametrize("strength", [0.2, 0.5, 0.9])
def test_values_that_did_not_move_keep_their_bits_negative_zeros_too(dtype: Any, strength: float) -> None:
    base, tuned = pair(dtype, dtype)
    result = tuned.clone()
    blend(base, tuned, taken=strength, into=result)
    still = base == tuned
    assert int(still.sum()) > 2000
    assert same_bits(result[still], tuned[still])
    assert bool(torch.signbit(result[20:40]).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_pieces_and_the_whole_give_the_same_bits(dtype: Any) -> None:
    base, tuned = pair(dtype, dtype, size=2 * CACHED + 1234)
    whole, parts, done = tuned.clone(), tuned.clone(), []
    told = blend(base, tuned, taken=0.3, into=whole)
    for at in range(0, len(tuned), 77_777):
        piece = slice(at, at + 77_777)
        done.append(blend(base[piece], parts[piece], taken=0.3, into=parts[piece]))
    assert same_bits(whole, parts)
    assert together(done).energy == pytest.approx(told.energy, rel=1e-5)
    matrix = tuned.clone()[: 2 * CACHED].reshape(512, -1)
    update = Update(base[: 2 * CACHED].reshape(512, -1), tuned[: 2 * CACHED].reshape(512, -1))
    take(update, Edit(share=0.3), strength=1.0, into=matrix)
    assert same_bits(matrix.reshape(-1), whole[: 2 * CACHED])


def test_what_only_measures_writes_nothing() -> None:
    base, tuned = pair(torch.bfloat16, torch.bfloat16)
    before = tuned.clone()
    done = blend(base, tuned, taken=0.3)
    assert same_bits(before, tuned)
    assert done.rounding == 0
    assert done.undone == pytest.approx(0.3 * done.energy)
    assert done.edited == pytest.approx(0.09 * done.energy)
