"""Take down what the checkpoints of the spectral study are made of, as readings beside their success.

    holdfast study studies/rl_restores/spectral.yaml
    python studies/rl_restores/spectra.py runs/studies/spectral

Writes ``spectra.jsonl`` into the run folder of every arm that is trained: a line a kept step that was measured.
Reports, compact records and claims then know them as readings of that moment:

- ``spectral_relative``: median over the matrices of the blocks of ‖D‖ / ‖W_base‖, D since the pretrained base;
- ``spectral_values``: median of the normalized shift of singular values;
- ``spectral_top``, ``spectral_middle``, ``spectral_bottom``: rotation of singular subspaces by index (the first two of
  ten bands, the middle two, the last two), relative to chance, the mean over matrices and both sides; and the same of a
  random update as large, ``spectral_null_top`` and so on;
- of what goes on from step 20 by reinforcement, ``spectral_sft_cosine`` and ``spectral_sft_angle``: its update since
  there against that of fine-tuning since there: their cosine, and Σ sin² of the angles between their leading directions
  relative to chance (1 is chance).
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from holdfast.heal.apply import IN_BLOCKS
from holdfast.models.pairs import ModelPair
from holdfast.report.spectral_readings import MatrixReading
from holdfast.spectral.cache import FactorCache
from holdfast.spectral.measure import measure
from holdfast.spectral.update import Update

BASE = "pocket"
PARTS = {"top": (0, 1), "middle": (4, 5), "bottom": (8, 9)}
COMMON = 20


def updates(base: str, tuned: str, cache: FactorCache) -> Iterator[Update]:
    """Yield the updates of all matrices in blocks."""
    pair = ModelPair(base, tuned)
    for entry in pair.entries:
        if entry.matrices == 1 and entry.role in IN_BLOCKS and entry.layer is not None:
            both = pair.read(entry)
            yield Update(both.base, both.tuned, factors=lambda weight=both.base: cache.factors(weight))


def readings(base: str, tuned: str, cache: FactorCache) -> dict[str, float]:
    """Return the readings of one checkpoint against the base."""
    found = [measure(update, with_bands=True) for update in updates(base, tuned, cache)]
    told = {
        "spectral_relative": statistics.median(one.relative or 0.0 for one in found),
        "spectral_values": statistics.median(0.0 if one.values is None else one.values.normalized for one in found),
    }
    for name, places in PARTS.items():
        told[f"spectral_{name}"] = rotation(found, places, null=False)
        told[f"spectral_null_{name}"] = rotation(found, places, null=True)
    return told


def rotation(found: list[MatrixReading], places: tuple[int, ...], *, null: bool) -> float:
    """Return the mean rotation of some bands, relative to chance."""
    values = []
    for one in found:
        if one.bands is not None:
            bands = one.bands.null if null else one.bands.measured
            values += [side for place in places for side in (bands[place].left, bands[place].right) if side is not None]
    return statistics.fmean(values)


def alike(start: str, one: str, other: str, cache: FactorCache) -> dict[str, float]:
    """Return how two updates of one checkpoint stand to each other."""
    inner = first = second = 0.0
    angles = []
    for a, b in zip(updates(start, one, cache), updates(start, other, cache), strict=True):
        told = measure(a, other=b).against
        if told is not None:
            inner, first, second = inner + told.inner, first + told.energy, second + told.other_energy
            angles += [side.of_chance for side in (told.left, told.right) if side and side.of_chance is not None]
    return {"spectral_sft_cosine": inner / math.sqrt(first * second), "spectral_sft_angle": statistics.fmean(angles)}


def main(study: Path) -> None:
    """Write the readings of every trained arm of a study; what is there already is left as it is."""
    runs = json.loads((study / "runs.json").read_text(encoding="utf-8"))
    folders = {(run["name"], run["seed"]): study / run["folder"] for run in runs}
    cache = FactorCache(study / "factors")
    for run in runs:
        folder = folders[run["name"], run["seed"]]
        records = [json.loads(line) for line in (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()]
        lines: list[str] = []
        for record in [] if (folder / "spectra.jsonl").is_file() else records:
            checkpoint = folder / f"checkpoint-{record['step']}"
            if not record["step"] or not checkpoint.is_dir():
                continue
            told = readings(BASE, str(checkpoint), cache)
            if run.get("start") == {"arm": "sft", "step": COMMON, "base": BASE}:
                fine = folders["sft", run["seed"]]
                last = max(int(place.name.rpartition("-")[2]) for place in fine.glob("checkpoint-*"))
                start = str(fine / f"checkpoint-{COMMON}")
                told |= alike(start, str(fine / f"checkpoint-{last}"), str(checkpoint), cache)
            lines.append(json.dumps({"step": record["step"], "readings": told}))
            print(run["name"], run["seed"], record["step"], {key: round(value, 4) for key, value in told.items()})
        if lines:
            (folder / "spectra.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
