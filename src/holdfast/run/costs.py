"""What measuring costs: ``costs.jsonl`` of a run folder, a line a moment, and its sums in ``result.json``.

::

    {"step": 40, "suites": {"ood": {"seconds": 1.3}},
     "probes": {"entropy": {"flops": 2.1e9, "estimate": 2.1e9, "seconds": 0.04}}}

FLOPs are those that were computed; of two probes that read the same rows in one pass, the first pays. Seconds are wall
clock, and differ from run to run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "costs.jsonl"
Costs = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By kind (``suites``, ``probes``) and name."""


def append(path: Path, line: str) -> None:
    """Add a line to a log, durably; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a log; none if there is no such file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def flops(folder: Path) -> float:
    """Return the FLOPs that the probes of a run have spent."""
    return float(sum(paid["flops"] for line in lines(folder / FILE) for paid in line["probes"].values()))


def summed(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Return for each suite and probe how often it was asked (``times``), and the sums of its figures."""
    total: dict[str, dict[str, dict[str, float]]] = {"suites": {}, "probes": {}}
    for line in lines(folder / FILE):
        for kind, named in total.items():
            for name, paid in line[kind].items():
                so_far = named.setdefault(name, {"times": 0})
                so_far["times"] += 1
                for figure, amount in paid.items():
                    so_far[figure] = so_far.get(figure, 0.0) + amount
    return total
