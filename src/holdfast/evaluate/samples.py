"""Graded replies on disk, and two evaluations of one suite compared problem by problem."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from holdfast.errors import DataError, NotRecorded
from holdfast.evaluate.suite import SELECT
from holdfast.records import Sample
from holdfast.report.pairing import both, compared
from holdfast.statistics import Paired, mcnemar


def samples_path(run_folder: Path, suite: str, step: int) -> Path:
    """Return where the samples of a suite at a step lie."""
    return run_folder / "samples" / suite / f"{step}.jsonl"


def write_samples(run_folder: Path, suite: str, step: int, samples: Sequence[Sample]) -> Path:
    """Write one line a sample; the file appears whole or not at all, and replaces an older one.

    Text is escaped to ASCII, so that any reply of a model can be written.
    """
    path = samples_path(run_folder, suite, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="ascii") as stream:
            stream.writelines(json.dumps(sample.to_json()) + "\n" for sample in samples)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def read_samples(run_folder: Path, suite: str, step: int) -> tuple[Sample, ...]:
    """Inverse of `write_samples`.

    Raises:
        NotRecorded: the run has no samples of this suite at this step.
    """
    path = samples_path(run_folder, suite, step)
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError as fault:
        raise NotRecorded(f"{run_folder} holds no samples of suite {suite!r} at step {step} ({path})") from fault
    return tuple(Sample.from_json(json.loads(line)) for line in lines)


def compare(samples_a: Sequence[Sample], samples_b: Sequence[Sample]) -> Paired:
    """Compare first attempts on the problems that both evaluations asked, each key counting once.

    Exact McNemar where each problem was answered once; else the means of its answers
    (`holdfast.repeated.paired_means`). Joined by index and step; of a split suite only the report half is read.
    ``difference`` is b minus a. Two models on one suite, or one model on paired suites (the same hands under two
    rules), whose problems share index and key.

    Raises:
        DataError: an index stands for problems of different keys.
    """
    first, second = ([s for s in samples if s.half != SELECT] for samples in (samples_a, samples_b))
    keys, others = ({(s.index, s.step): s.key for s in samples} for samples in (first, second))
    for place in sorted(keys.keys() & others.keys()):
        if keys[place] != others[place]:
            raise DataError(
                f"problem {place[0]} is {keys[place]!r} in one evaluation and {others[place]!r} in the other: "
                "they are of different suites"
            )
    return compared(both(first, second)) or mcnemar([], [])
