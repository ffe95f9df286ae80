"""Two runs one after the other on all cores, or side by side on half of the cores each: which ends first?

    python benchmarks/study_jobs.py [--rounds 2]

Runs one study of two arms on the embedded base both ways, in turn, in fresh folders; prints seconds and their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

STUDY = {
    "base": {
        "model_name_or_path": "pocket",
        "attn_implementation": "eager",
        "data": {
            "environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse",
            "answer_format": "values_formula",
        },
        "suites": {"id": {"environment": "general_points", "rule": "faces_as_10", "purpose": "id", "size": 200}},
        "evaluate_at": "end",
        "budget": {"steps": 40},
        "learning_rate": 1e-4,
        "per_device_train_batch_size": 96,
        "per_device_eval_batch_size": 200,
    },
    "axes": {"trainable": ["attention", "mlp"]},
}  # fmt: skip


def seconds(jobs: int) -> float:
    """Return the wall-clock time of the study with ``jobs`` runs at a time."""
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study.yaml"
        study.write_text(yaml.safe_dump(STUDY))
        command = [str(Path(sys.executable).parent / "holdfast"), "study", str(study), "--jobs", str(jobs)]
        started = time.monotonic()
        subprocess.run(
            [*command, "--output", f"{folder}/out", "--runs", f"{folder}/runs"], check=True, capture_output=True
        )
        return time.monotonic() - started


def main() -> None:
    """Run both ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    rounds = parser.parse_args().rounds
    cores = os.cpu_count() or 1
    ways = {1: f"one at a time, {cores} threads", 2: f"two at a time, {cores // 2} thread(s) each"}
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for jobs in ways:
            times[jobs].append(seconds(jobs))
    base = statistics.median(times[1])
    print(f"| two runs of 40 steps, {rounds} rounds | median s | ratio |\n|---|---|---|")
    for jobs, name in ways.items():
        middle = statistics.median(times[jobs])
        print(f"| {name} | {middle:.0f} | {middle / base:.2f} |")


if __name__ == "__main__":
    main()
