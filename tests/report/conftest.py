"""Run folders and a study folder as a run writes them, with made-up but plausible numbers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from holdfast.records import Outcome, Record, Sample
from holdfast.statistics import rate_by_cluster

STEPS = (0, 2, 5, 10, 20, 40, 80, 160)
SUITES = {
    "id": ("id", "faces_as_10", "known to the base"),
    "ood": ("ood", "faces_as_11_12_13", "known to the base"),
    "ood_new": ("ood", "faces_as_5_7_9", "never seen"),
}
ARMS = {  # trainable, rate, success at the end under the three rules, FLOPs a step
    "full, 1e-3": ("full", 1e-3, (0.975, 0.265, 0.85), 6.0e10),
    "attention, 1e-3": ("attention", 1e-3, (1.0, 0.72, 0.96), 4.6e10),
    "mlp, 1e-3": ("mlp", 1e-3, (1.0, 0.69, 0.95), 5.1e10),
    "full, 2e-4": ("full", 2e-4, (1.0, 0.835, 0.985), 6.0e10),
}
BASE = (0.975, 0.75, 0.95)
FIRST = ["J 7 3 Q", "K 4 4 2", "A 9 Q Q", "10 J 2 5"]


def trainable_map(selection):
    rows = [{"role": "embedding", "layer": None, "parameters": 79_872, "trainable": 79_872 * (selection == "full")}]
    for layer in range(8):
        for role, count, learned in (("attention", 102_400, "attention"), ("mlp", 165_120, "mlp"), ("norm", 320, "-")):
            rows.append(
                {
                    "role": role,
                    "layer": layer,
                    "parameters": count,
                    "trainable": count * (selection in ("full", learned)),
                }
            )
    rows.append({"role": "norm", "layer": None, "parameters": 160, "trainable": 160 * (selection == "full")})
    rows.append({"role": "head", "layer": None, "parameters": 79_872, "trainable": 79_872 * (selection == "full")})
    total, learned = sum(row["parameters"] for row in rows), sum(row["trainable"] for row in rows)
    return {"rows": rows, "n_trainable": learned, "n_parameters": total, "label": selection}


def graded(generator, rate, *, rule, ease, attempts, reply=None):
    """Grade problems whose ease decides which are solved at a rate, so that steps agree on the easy ones."""
    samples = []
    right = ease + 0.25 * generator.standard_normal(len(ease)) > np.quantile(ease, 1 - rate) if rate < 1 else ease > -99
    for index, (won, one) in enumerate(zip(right, ease, strict=True)):
        hand = f"{FIRST[index % 4]}"
        formula = "(11+7)+(3*2)=24" if won else "(10+7)+(3+10)=30"
        reply_text = reply if reply is not None else f"[11, 7, 3, 12] {formula}"
        unparsed = not won and one < -1.5
        samples.append(
            Sample(
                index=index,
                key=f"{index % max(1, int(len(ease) * 0.6))}",
                half="all",
                prompt=f"rule {rule} ; cards {hand} ; number {index} ; answer",
                replies=(("??? " if unparsed else "") + reply_text,),
                outcome=Outcome.CORRECT if won else Outcome.UNPARSED if unparsed else Outcome.WRONG,
                code="correct" if won else "unparsed" if unparsed else "wrong_value",
                solved_at=1 if won else 2 if attempts > 1 and one > 0.2 else None,
                reward=5.0 if won else -1.0,
                facts={"format_ok": not unparsed, "right_under_training_rule": None if won else bool(one > -0.4)},
                expected="[11, 7, 3, 12] (11+7)+(3*2)=24",
            )
        )
    return samples


def estimates_of(samples, suite, attempts):
    keys = [sample.key for sample in samples]
    made = {"success": rate_by_cluster([sample.outcome is Outcome.CORRECT for sample in samples], keys)}
    if attempts > 1:
        made[f"success_at_{attempts}"] = rate_by_cluster([sample.solved_at is not None for sample in samples], keys)
    for fact in ("format_ok", "right_under_training_rule"):
        known = [(sample.facts[fact], sample.key) for sample in samples if sample.facts[fact] is not None]
        made[fact] = rate_by_cluster([value for value, _ in known], [key for _, key in known])
    return {f"eval_{suite}_{metric}": estimate for metric, estimate in made.items()}


def write_lines(path: Path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_run(
    folder, *, name="full, 1e-3", seed=0, size=400, during=200, attempts=1, steps=STEPS, reply=None, suites=None
):
    """Write one finished run folder and return its path."""
    selection, rate, ends, flops = ARMS[name]
    suites = suites or SUITES
    records = [Record(step, spent(step, flops), {}, {}) for step in steps]
    for number, (suite, (_, rule, _)) in enumerate(suites.items()):
        ease = np.random.default_rng(100 + number).standard_normal(size)
        generator = np.random.default_rng([number, seed, list(ARMS).index(name)])
        for position, step in enumerate(steps):
            way = min(1.0, (position / (len(steps) - 1)) ** 1.5)
            aim = min(1.0, max(0.0, BASE[number % 3] * (1 - way) + ends[number % 3] * way))
            shown = size if step in (0, steps[-1]) else during
            source = np.random.default_rng(number) if step == 0 else generator  # every run starts from the same base
            samples = graded(source, aim, rule=rule, ease=ease[:shown], attempts=attempts, reply=reply)
            write_lines(folder / "samples" / suite / f"{step}.jsonl", [sample.to_json() for sample in samples])
            made = estimates_of(samples, suite, attempts)
            records[position].estimates.update(made)
            records[position].readings.update({key: estimate.value for key, estimate in made.items()})
    write_lines(folder / "records.jsonl", [record.to_json() for record in records])
    write_lines(folder / "metrics.jsonl", metrics(seed, rate, steps[-1]))
    write_recipe(folder, name, seed, selection=selection, rate=rate, attempts=attempts, steps=steps, suites=suites)
    write_plan(folder, selection, flops, steps=steps, size=size, suites=suites)
    write_result(folder, name, steps)
    return folder


def spent(step, flops):
    return {"steps": step, "flops": step * flops, "flops_6nd": step * 7e10, "tokens": step * 5_000.0}


def metrics(seed, rate, last):
    noise = np.random.default_rng(seed)
    return [
        {
            "step": step,
            "loss": 0.3 / (1 + step * rate * 60) + 0.01 * noise.random(),
            "nll": 0.3 / (1 + step * rate * 60) + 0.01 * noise.random(),
            "learning_rate": rate,
            "grad_norm": 0.8,
            "tokens_per_second": 21_000.0,
        }
        for step in range(5, last + 1, 5)
    ]


def write_recipe(folder, name, seed, *, selection, rate, attempts, steps, suites):
    asked = {
        suite: {"environment": "general_points", "rule": rule, "purpose": purpose, "size": 400, "attempts": attempts}
        for suite, (purpose, rule, _) in suites.items()
    }
    recipe = {
        "model_name_or_path": "pocket",
        "trainable": selection,
        "objective": "nll",
        "data": {"environment": "general_points", "rule": "faces_as_10", "size": 20_480},
        "suites": asked,
        "evaluate_at": "log",
        "budget": {"steps": steps[-1]},
        "learning_rate": rate,
        "run_name": name,
        "seed": seed,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")


def write_plan(folder, selection, flops, *, steps, size, suites):
    plan = {
        "trainable": trainable_map(selection),
        "steps": steps[-1],
        "flops_per_step": 0.97 * flops,
        "budget": {"match": "steps", "steps": steps[-1]},
        "warnings": [],
        "suites": {
            suite: {"purpose": purpose, "rule": rule, "n": size, "exposure": exposure}
            for suite, (purpose, rule, exposure) in suites.items()
        },
    }
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")


def write_result(folder, name, steps):
    result = {
        "status": "finished",
        "steps": steps[-1],
        "wall_seconds": 61.4,
        "peak_memory_bytes": 1_420_000_000,
        "recipe_hash": hashlib.sha256(name.encode()).hexdigest()[:16],
        "code_version": "0.1.0+c0ffee123456",
        "base_fingerprint": "9f" * 32,
        "meters": {"swallowed_update_fraction": 0.0, "unchanged_after_export_fraction": 0.031},
        "frozen_verified": True,
        "best_step": None,
        "threads": 2,
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def write_study(root: Path, *, names=tuple(ARMS), seeds=(0, 1), **options):
    """Write a study folder of several arms and seeds and return its path."""
    entries = []
    for name in names:
        for seed in seeds:
            place = f"runs/{name.replace(', ', '-')}-{seed}"
            write_run(root / place, name=name, seed=seed, **options)
            axes = {"trainable": ARMS[name][0], "rate": str(ARMS[name][1])}
            entries.append({"name": name, "axes": axes, "seed": seed, "folder": place, "status": "finished"})
    (root / "runs.json").write_text(json.dumps(entries), encoding="utf-8")
    study = {"base": "full.yaml", "seeds": list(seeds), "notes": ["The numbers of this study are made up for a test."]}
    (root / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    return root


@pytest.fixture
def make_run():
    return write_run


@pytest.fixture
def make_study():
    return write_study


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """Four arms with two seeds each; not to be changed by a test."""
    return write_study(tmp_path_factory.mktemp("study"), size=200, during=100)
