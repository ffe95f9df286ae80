"""How fast a matrix is measured, beside the two full singular value decompositions that others take.

    OMP_NUM_THREADS=2 python benchmarks/spectral_speed.py

Prints the table of ``benchmarks/results/spectral_speed.md``. Each time is the best of a few, in processor seconds over
all threads, so that other work on the machine matters little. *Warm*: the base's factors are at hand, as for every
checkpoint but the first; *cold*: they are made. Everything that a diagnosis tells of a matrix is in the time (both ends,
values, energy, the update's own spectrum, sparsity), where the two decompositions give angles and values alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import process_time

import torch

from holdfast.spectral.factors import factorize
from holdfast.spectral.measure import measure
from holdfast.spectral.update import Update

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


def main() -> None:
    """Print the table."""
    print(f"{torch.get_num_threads()} threads, float32\n")
    print("| shape | two SVDs | warm | | cold | |")
    print("|---|---|---|---|---|---|")
    for rows, columns in SHAPES:
        draw = torch.Generator().manual_seed(0)
        base = torch.randn(rows, columns, generator=draw) / math.sqrt(columns)
        tuned = base + RELATIVE * torch.randn(rows, columns, generator=draw) / math.sqrt(columns)
        factors = factorize(base)
        twice = 2 * seconds(lambda: torch.linalg.svd(tuned, full_matrices=False), 2)  # noqa: B023
        warm = seconds(lambda: measure(Update(base, tuned, factors=lambda: factors)), 5)  # noqa: B023
        cold = seconds(lambda: measure(Update(base, tuned)), 2)  # noqa: B023
        print(
            f"| {rows} × {columns} | {twice:.2f} s | {warm:.3f} s | {twice / warm:.1f} × faster "
            f"| {cold:.3f} s | {twice / cold:.1f} × faster |"
        )


if __name__ == "__main__":
    main()
