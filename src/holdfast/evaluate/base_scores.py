"""Scores of an untrained base, shared by all runs that begin with it: step 0 is asked once, not once an arm.

An entry is addressed by everything it depends on: model, dtypes, batch size (bf16 results can depend on it), problems.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from holdfast import __version__
from holdfast.data.fingerprint import digest
from holdfast.evaluate.evaluate import SuiteResult, estimates_of, evaluate
from holdfast.evaluate.suite import Suite
from holdfast.models.ranks import ALONE, Ranks
from holdfast.records import Sample
from holdfast.rollout.answerer import TRANSFORMERS, Answerer, named_unless_usual


def evaluate_cached(
    model: Any,
    tokenizer: Any,
    suite: Suite,
    *,
    n: int,
    batch_size: int,
    compute_dtype: torch.dtype,
    cache: Path | None,
    model_fingerprint: str,
    ranks: Ranks = ALONE,
    answerer: Answerer = TRANSFORMERS,
) -> SuiteResult:
    """Return what `evaluate` returns, from ``cache`` if it is there, and leave it there otherwise.

    Args:
        model, tokenizer, suite, n, batch_size, compute_dtype: See `evaluate`.
        cache: A folder; None evaluates without looking.
        model_fingerprint: Says which weights ``model`` has.
        ranks, answerer: See `evaluate`; the main rank looks into the cache.
    """

    def asked() -> SuiteResult:
        return evaluate(
            model, tokenizer, suite,
            n=n, batch_size=batch_size, compute_dtype=compute_dtype, ranks=ranks, answerer=answerer,
        )  # fmt: skip

    if cache is None:
        return asked()
    who = () if suite.decoding.teacher_forced else named_unless_usual(answerer).values()
    address = digest([model_fingerprint, suite.fingerprint(), n, batch_size, str(compute_dtype), __version__, *who])
    path = cache / f"{address}.jsonl"
    rows = ranks.on_main(lambda: _read(path))
    if rows is not None:
        # Whether a suite is split is the recipe's affair, so the halves are those of the suite that asks.
        problems = suite.problems(n)
        samples = tuple(Sample.from_json({**row, "half": suite.half_of(problems[row["index"]])}) for row in rows)
        return SuiteResult(suite.name, samples, estimates_of(suite, samples))
    result = asked()
    ranks.on_main(lambda: _write(path, "".join(json.dumps(sample.to_json()) + "\n" for sample in result.samples)))
    return result


def _read(path: Path) -> list[dict[str, Any]] | None:
    if not path.is_file():
        return None
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(path: Path, text: str) -> None:
    """Write a whole file at once, since several runs may fill the cache at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(name, path)
