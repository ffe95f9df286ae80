"""How fast a matrix is measured, beside the two full singular value decompositions that others take.

    OMP_NUM_THREADS=1 python benchmarks/spectral_speed.py

Prints the table of ``benchmarks/results/spectral_speed.md``: the best of a few, in processor time of one core, so that
other work on the machine matters little. *Rotation and values* is what two decompositions give: angles of the first
20 % of the directions on both sides, and the shift of all singular values. *Everything* is what a diagnosis tells of a
matrix: the last 20 % too, energy, the update's own spectrum, sparsity. Warm: the base's factors are at hand, as for
every checkpoint but the first. Cold: they are made.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from time import process_time

import torch
from torch import Tensor

from holdfast.spectral.coordinates import in_base
from holdfast.spectral.counts import count_of
from holdfast.spectral.factors import Factors, factorize
from holdfast.spectral.measure import measure
from holdfast.spectral.rotation import first_order_rotation
from holdfast.spectral.turning import Ends
from holdfast.spectral.update import Update
from holdfast.spectral.values import second_order_shift

SHAPES = ((1024, 1024), (1024, 3584))
RELATIVE = 2e-3


def seconds(work: Callable[[], object], times: int) -> float:
    """Return the processor time of the fastest of several calls."""
    found = []
    for _ in range(times):
        start = process_time()
        work()
        found.append(process_time() - start)
    return min(found)


def angles_and_values(update: Update) -> None:
    """Measure what two decompositions would give."""
    ends = Ends.of(count_of(0.2, update.rank), update.rank)
    found = in_base(update, columns=[ends.near])
    first_order_rotation(found, ends)
    second_order_shift(found)


def errors(shape: str, base: Tensor, tuned: Tensor, factors: Factors) -> None:
    """Print each figure by both roads: first order with the error that it states, and exactly."""
    first = measure(Update(base, tuned, factors=lambda: factors))
    exact = measure(Update(base, tuned, factors=lambda: factors), exact=True)
    assert first.top is not None
    assert exact.top is not None
    assert first.values is not None
    assert exact.values is not None
    rows = [
        ("left, root mean square angle", first.top.left.rms, first.top.left.rms_error, exact.top.left.rms),
        ("right, root mean square angle", first.top.right.rms, first.top.right.rms_error, exact.top.right.rms),
        ("left, largest angle", first.top.left.largest, first.top.left.largest_error, exact.top.left.largest),
        ("shift of values", first.values.normalized, first.values.normalized_error, exact.values.normalized),
    ]
    for what, told, stated, truth in rows:
        print(f"| {shape} | {what} | {told:.4g} | {stated or 0:.1g} | {truth:.4g} | {abs(told - truth) / truth:.1%} |")


def drawn(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Return a base and a tuned matrix with a flat spectrum: neighbors are near, the hard case for first order."""
    draw = torch.Generator().manual_seed(0)
    base = torch.randn(rows, columns, generator=draw) / math.sqrt(columns)
    return base, base + RELATIVE * torch.randn(rows, columns, generator=draw) / math.sqrt(columns)


def main() -> None:
    """Print the tables."""
    print(f"{torch.get_num_threads()} thread, float32, an update of {RELATIVE:g} of the base\n")
    print("| shape | what | two SVDs | warm | | cold | |")
    print("|---|---|---|---|---|---|---|")
    for rows, columns in SHAPES:
        base, tuned = drawn(rows, columns)
        factors = factorize(base)
        twice = seconds(partial(torch.linalg.svd, base, full_matrices=False), 2)
        twice += seconds(partial(torch.linalg.svd, tuned, full_matrices=False), 2)
        for what, work in (("rotation and values", angles_and_values), ("everything", measure)):
            warm = seconds(partial(fresh, work, base, tuned, factors), 5)
            cold = seconds(partial(fresh, work, base, tuned, None), 2)
            print(
                f"| {rows} × {columns} | {what} | {twice:.2f} s | {warm:.3f} s | {twice / warm:.1f} × faster "
                f"| {cold:.3f} s | {twice / cold:.1f} × faster |"
            )
    print("\n| shape | figure | first order | stated error | exact | off by |\n|---|---|---|---|---|---|")
    for rows, columns in SHAPES:
        base, tuned = drawn(rows, columns)
        errors(f"{rows} × {columns}", base, tuned, factorize(base))


def fresh(work: Callable[[Update], object], base: Tensor, tuned: Tensor, factors: Factors | None) -> None:
    """Measure an update that nothing is known of but perhaps the base's factors."""
    work(Update(base, tuned, factors=None if factors is None else lambda: factors))


if __name__ == "__main__":
    main()
