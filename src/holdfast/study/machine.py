"""How many runs fit on this machine at a time, and what each of them is given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from holdfast.errors import UserError
from holdfast.models import find

RUNTIME = 1.5e9
"""Bytes that a training process holds before a model is loaded."""
OVER_WEIGHTS = 10
"""Memory of a run as a multiple of its weight files: masters, gradients, Adam's moments, activations."""
SHARE = 0.7
"""Share of the machine's memory that a study may plan with."""


@dataclass(frozen=True)
class Machine:
    """What runs share.

    Attributes:
        cores: That this process may use.
        memory: Bytes.
        accelerators: Ids for ``CUDA_VISIBLE_DEVICES``, one process of a run at a time on each; empty without any.
    """

    cores: int
    memory: int
    accelerators: tuple[str, ...] = ()

    @staticmethod
    def here() -> Machine:
        """Look at this machine. Imports no torch."""
        try:
            cores = len(os.sched_getaffinity(0))
        except AttributeError:  # macOS has no affinity
            cores = os.cpu_count() or 1
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
        chosen = [word.strip() for word in visible.split(",") if word.strip()] if visible is not None else devices
        return Machine(cores, memory, tuple(chosen) if devices else ())

    def jobs(self, asked: int | Literal["auto"], *, runs: int, weight_bytes: int, processes: int = 1) -> int:
        """Return how many runs of ``processes`` processes each to have at a time.

        ``auto`` takes one process per accelerator, else as many as there are cores and as fit in memory: small models
        gain more from running side by side than from more threads each.

        Raises:
            UserError: there are accelerators, but fewer than a run has processes.
        """
        if self.accelerators and processes > len(self.accelerators):
            raise UserError(
                f"processes_per_run: {processes}, but {len(self.accelerators)} accelerators are visible here "
                f"({', '.join(self.accelerators)})"
            )
        if asked != "auto":
            return max(1, min(asked, runs))
        if self.accelerators:
            return max(1, min(len(self.accelerators) // processes, runs))
        fitting = int(SHARE * self.memory / (RUNTIME + OVER_WEIGHTS * weight_bytes))
        return max(1, min(self.cores // processes, runs, fitting // processes))

    def threads(self, *, jobs: int, processes: int = 1) -> int:
        """Return an equal share of the cores for each process of ``jobs`` runs at a time."""
        return max(1, self.cores // (jobs * processes))

    def environment(self, slot: int, *, jobs: int, processes: int = 1, threads: int | None = None) -> Mapping[str, str]:
        """Return the environment of the run in a slot: threads of a process (an equal share if None), accelerators."""
        count = str(threads or self.threads(jobs=jobs, processes=processes))
        own = {
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
        }
        if self.accelerators:
            numbers = range(slot * processes, (slot + 1) * processes)
            own["CUDA_VISIBLE_DEVICES"] = ",".join(self.accelerators[n % len(self.accelerators)] for n in numbers)
        return own


def weight_bytes(model: str) -> int:
    """Return the size of a local model's weight files; 0 for a hub id, whose size nobody knows yet."""
    place = find.find(model)
    return sum(file.stat().st_size for file in place.glob("*.safetensors")) if isinstance(place, Path) else 0
