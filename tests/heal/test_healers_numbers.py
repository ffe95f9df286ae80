"""Each healer's number held against five lines of NumPy in float64, and the golden facts about them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.heal.arithmetic import take
from holdfast.heal.base import Healer, Place
from holdfast.heal.core import Core
from holdfast.heal.head_tail import HeadTail
from holdfast.heal.intruders import Intruders
from holdfast.heal.layer_reset import LayerReset
from holdfast.heal.lines import LiNeS
from holdfast.heal.noise_edge import NoiseEdge
from holdfast.heal.random_subspace import RandomSubspace
from holdfast.heal.rotation_only import RotationOnly
from holdfast.heal.union import Union
from holdfast.heal.union_keep_values import UnionKeepValues
from holdfast.heal.uv_merge import UVMerge
from holdfast.heal.values_only import ValuesOnly
from holdfast.models.pairs import same_bits
from holdfast.spectral.factors import EXACT_BELOW, factorize
from holdfast.spectral.update import Update

PLACE = Place("model.layers.0.self_attn.q_proj.weight", "attention", 0, 4)
Array = NDArray[Any]


def weights(rows: int, columns: int, *, rho: float = 0.02, seed: int = 0, dtype: Any = torch.float64) -> list[Tensor]:
    """Return a base with a spectrum like a language model's (a few large values over a slowly falling bulk) and a
    noisy update of it."""
    generator = torch.Generator().manual_seed(seed)
    left, values, right = torch.linalg.svd(
        torch.randn(rows, columns, generator=generator, dtype=torch.float64), full_matrices=False
    )
    values = torch.logspace(0.6, -0.6, len(values), dtype=torch.float64)
    base = left @ values.diag() @ right
    noise = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return [base.to(dtype), (base + rho * base.norm() / noise.norm() * noise).to(dtype)]


def healed(healer: Healer, base: Tensor, tuned: Tensor, strength: float = 1.0) -> Tensor:
    update, result = Update(base, tuned), tuned.clone()
    take(update, healer.edit(update, PLACE), strength=strength, into=result)
    return result


def svd(matrix: Tensor) -> tuple[Array, Array, Array]:
    left, values, right = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    return left, values, right.T


def undone(healer: Healer, base: Tensor, tuned: Tensor) -> float:
    update = Update(base, tuned)
    return take(update, healer.edit(update, PLACE), strength=1.0).undone / update.energy


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("shape", [(40, 64), (130, 104)])
@pytest.mark.parametrize("k", [5, 0.2])
def test_union_keeps_the_leading_triplets_of_the_base(dtype: Any, tolerance: float, shape: Any, k: Any) -> None:
    """T4. W_healed v_i = s_i u_i and W_healedᵀ u_i = s_i v_i for i <= k; the second shape goes by the Gram matrix."""
    assert (min(shape) <= EXACT_BELOW) is (shape == (40, 64))
    base, tuned = weights(*shape, dtype=dtype)
    left, values, right = svd(base)
    count = k if isinstance(k, int) else round(k * min(shape))
    result = healed(Union(k), base, tuned).double().numpy()
    u, s, v = left[:, :count], values[:count], right[:, :count]
    assert np.abs(result @ v - u * s).max() < tolerance * values[0]
    assert np.abs(result.T @ u - v * s).max() < tolerance * values[0]
    assert np.abs(tuned.double().numpy() @ v - u * s).max() > 100 * tolerance * values[0] * (dtype == torch.float64)


def test_union_leaves_exactly_what_touches_no_leading_direction() -> None:
    base, tuned = weights(36, 50)
    left, _, right = svd(base)
    u, v = left[:, :9], right[:, :9]
    difference = (tuned - base).numpy()
    outside = (np.eye(36) - u @ u.T) @ difference @ (np.eye(50) - v @ v.T)
    assert np.abs(healed(Union(9), base, tuned).numpy() - base.numpy() - outside).max() < 1e-13
    expected = 1 - (outside**2).sum() / (difference**2).sum()
    assert undone(Union(9), base, tuned) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("k", [0.25, 7])
def test_core_rotation_and_kept_values_are_the_blocks_of_the_middle_matrix(k: Any) -> None:
    base, tuned = weights(30, 44)
    left, _, right = svd(base)
    count = k if isinstance(k, int) else round(k * 30)
    u, v, difference = left[:, :count], right[:, :count], (tuned - base).numpy()
    block = u.T @ difference @ v
    kept = np.diag(np.diag(block))
    p, q = u @ u.T, v @ v.T
    union = p @ difference + difference @ q - p @ difference @ q
    for healer, taken in (
        (Core(k), u @ block @ v.T),
        (RotationOnly(k), u @ (block - kept) @ v.T),
        (UnionKeepValues(k), union - u @ kept @ v.T),
    ):
        assert np.abs((tuned - healed(healer, base, tuned)).numpy() - taken).max() < 1e-13


def test_head_and_tail_together_are_the_union_of_both_ends_and_all_of_it_where_they_meet() -> None:
    base, tuned = weights(20, 28)
    left, _, right = svd(base)
    ends = [0, 1, 2, 18, 19]
    u, v, difference = left[:, ends], right[:, ends], (tuned - base).numpy()
    outside = (np.eye(20) - u @ u.T) @ difference @ (np.eye(28) - v @ v.T)
    result = healed(HeadTail(head=3, tail=2), base, tuned).numpy()
    assert np.abs(result - base.numpy() - outside).max() < 1e-12
    assert torch.allclose(healed(HeadTail(head=15, tail=15), base, tuned), base, atol=1e-12)
    alone = healed(HeadTail(head=0, tail=2), base, tuned).numpy()
    assert np.abs(left[:, 18:].T @ (alone - base.numpy())).max() < 1e-12


@pytest.mark.parametrize("values", ["tuned", "base"])
@pytest.mark.parametrize(("k", "tail"), [(4, 0), (0, 3), (5, 2), (17, 0)])
def test_the_splice_is_the_recomposition_of_both_models(values: Any, k: int, tail: int) -> None:
    """T5. W_tuned + Σ (t_i u_i v_iᵀ − s'_i u'_i v'_iᵀ) against all of both SVDs put together again."""
    base, tuned = weights(17, 29, rho=0.05)
    (ub, sb, vb), (ut, st, vt) = svd(base), svd(tuned)
    vb, vt = vb * _signs(ub, ut), vt * _signs(ut, ut)
    chosen = np.zeros(17, dtype=bool)
    chosen[:k], chosen[17 - tail :] = True, chosen[17 - tail :] | (tail > 0)
    u, v = np.where(chosen, ub * _signs(ub, ut), ut), np.where(chosen, vb, vt)
    s = np.where(chosen & (values == "base"), sb, st)
    result = healed(UVMerge(k=k, tail=tail, values=values, form="identity"), base, tuned).numpy()
    assert np.abs(result - (u * s) @ v.T).max() < 2e-12


def _signs(of: Array, like: Array) -> Array:
    return np.where((of * like).sum(0) < 0, -1.0, 1.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_published_splice_of_all_indices_is_the_base_itself(dtype: Any) -> None:
    """T5, C1: the authors' program returns the base there, so that "full merging" restores by copying."""
    base, tuned = weights(24, 20, dtype=dtype)
    assert same_bits(healed(UVMerge(k=1.0), base, tuned), base)
    assert not torch.equal(healed(UVMerge(k=1.0, form="identity"), base, tuned), base)


def test_a_splice_leaves_the_segment_between_the_models_where_union_does_not() -> None:
    """C3: of an edit that undoes u, the part at a right angle to D has the norm sqrt(edit² − u²); see docs/heal.md."""
    base, tuned = weights(120, 160, rho=0.01)
    update = Update(base, tuned)
    found = {}
    for healer in (UVMerge(k=0.2), Union(k=0.2)):
        done = take(update, healer.edit(update, PLACE), strength=1.0)
        found[type(healer)] = (done.undone / update.energy, done.edited / update.energy)
    share, edited = found[Union]
    assert edited == pytest.approx(share, rel=1e-9)  # an orthogonal projection of D: it only ever comes nearer the base
    share, edited = found[UVMerge]
    assert edited > 1.5 * share
    assert 1 - 2 * share + edited > 1.1  # further from the base than the tuned model was


def test_values_alone_undo_one_part_in_the_larger_side() -> None:
    """T6, C2: of an isotropic update the diagonal of the middle matrix carries r / (m n) = 1 / max(m, n)."""
    shares = [undone(ValuesOnly(1.0), *weights(48, 96, rho=1e-4, seed=seed)) for seed in range(6)]
    assert np.mean(shares) == pytest.approx(1 / 96, rel=0.25)
    base, tuned = weights(48, 96, rho=1e-4)
    s_base, s_tuned = svd(base)[1], svd(healed(ValuesOnly(1.0), base, tuned))[1]
    assert np.abs(s_base - s_tuned).max() < 1e-12


def test_random_directions_undo_as_many_as_any() -> None:
    """P D + D Q − P D Q with Haar projectors undoes 1 − (1 − k/m)(1 − k/n) in expectation."""
    rows, columns, k = 48, 64, 12
    expected = 1 - (1 - k / rows) * (1 - k / columns)
    base, tuned = weights(rows, columns)
    shares = [undone(RandomSubspace(k=k, seed=seed), base, tuned) for seed in range(12)]
    assert np.mean(shares) == pytest.approx(expected, rel=0.02)
    assert len(set(shares)) == 12


def test_the_noise_edge_is_the_hard_threshold_of_numpys_svd() -> None:
    base, _ = weights(60, 90)
    generator = np.random.default_rng(0)
    noise = 0.01 * generator.standard_normal((60, 90))
    planted = np.outer(generator.standard_normal(60), generator.standard_normal(90)) * 0.05
    tuned = base + torch.from_numpy(noise + planted)
    left, values, right = svd(tuned - base)
    beta = 60 / 90
    omega = math.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + math.sqrt(beta**2 + 14 * beta + 1)))
    # The median of the Marchenko–Pastur law at 2/3, by integrating its density with SciPy.
    kept = values > omega * np.median(values) / math.sqrt(0.7723759763937826)
    assert kept.sum() == 1
    signal = (left * values * kept) @ right.T
    difference = (tuned - base).numpy()
    assert np.abs((healed(NoiseEdge(), base, tuned) - base).numpy() - signal).max() < 1e-12
    bulk = healed(NoiseEdge(keep="bulk"), base, tuned) - base
    assert np.abs(bulk.numpy() - (difference - signal)).max() < 1e-12
    assert torch.equal(healed(NoiseEdge(scale=100.0), base, tuned), base)
    assert torch.equal(healed(NoiseEdge(scale=100.0, keep="bulk"), base, tuned), tuned)


def test_planted_intruders_are_scaled_and_nothing_else() -> None:
    base, _ = weights(40, 56)
    left, values, _ = svd(base)
    generator = np.random.default_rng(1)
    x, y = (np.ones(size) / math.sqrt(size) + 0.1 * generator.standard_normal(size) for size in (40, 56))
    tuned = base + torch.from_numpy(1.5 * values[0] * np.outer(x, y) / np.linalg.norm(x) / np.linalg.norm(y))
    u, s, v = svd(tuned)
    likeness = np.abs(left.T @ u[:, :10]).max(0)
    found = np.flatnonzero(likeness < 0.6)
    assert 0 < len(found) < 10
    taken = 0.25 * (u[:, found] * s[found]) @ v[:, found].T
    result = healed(Intruders(epsilon=0.6), base, tuned)
    assert np.abs((tuned - result).numpy() - taken).max() < 1e-11
    assert torch.equal(healed(Intruders(), base, base + 1e-3 * base), base + 1e-3 * base)


@pytest.mark.parametrize(
    ("share", "position", "layers", "expected"),
    [
        (0.25, "first", 8, [0, 1]),
        (0.25, "middle", 8, [3, 4]),
        (0.25, "last", 8, [6, 7]),
        (0.1, "last", 4, [3]),
        (1.0, "first", 3, [0, 1, 2]),
    ],
)
def test_layer_reset_takes_back_its_blocks(share: float, position: Any, layers: int, expected: list[int]) -> None:
    healer = LayerReset(share, position)
    found = [n for n in range(layers) if healer.share_at(Place("x", "norm", n, layers)) == 1.0]
    assert found == expected
    ends = [Place("e", "embedding", None, layers), Place("h", "head", None, layers), Place("n", "norm", None, layers)]
    assert [healer.share_at(place) for place in ends] == [0, 0, 0]
    assert [LayerReset(share, position, ends=True).share_at(place) for place in ends] == [1, 1, 0]


def test_lines_keeps_more_with_depth() -> None:
    healer = LiNeS(alpha=0.2, beta=0.6)
    kept = [1 - healer.share_at(Place("x", "mlp", layer, 5)) for layer in range(5)]
    assert kept == pytest.approx([0.2, 0.35, 0.5, 0.65, 0.8])
    assert 1 - healer.share_at(Place("e", "embedding", None, 5)) == pytest.approx(0.2)
    assert 1 - healer.share_at(Place("h", "head", None, 5)) == pytest.approx(0.8)
    assert LiNeS(0.3, 0.7).share_at(Place("x", "mlp", 4, 5)) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("rank", [0, 1, 50])
def test_a_base_without_full_rank_is_healed_too(dtype: Any, rank: int) -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(100, rank, generator=generator) @ torch.randn(rank, 120, generator=generator)
    base, tuned = base.to(dtype), (base + 0.01 * torch.randn(100, 120, generator=generator)).to(dtype)
    for healer in (Union(0.3), UnionKeepValues(0.3), HeadTail(0.1, 0.2), UVMerge(k=0.3), ValuesOnly(1.0)):
        result = healed(healer, base, tuned)
        assert bool(torch.isfinite(result).all())
        assert 0 < (result.double() - tuned.double()).norm() <= 3 * (tuned.double() - base.double()).norm() + 1e-6
    basis = factorize(base).basis(base, slice(0, 30))
    for side in (basis.left_MK, basis.right_NK):
        assert torch.allclose(side.T @ side, torch.eye(30, dtype=torch.float64), atol=1e-8)
