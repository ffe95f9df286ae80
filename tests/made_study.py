"""Studies as they lie in memory after reading, with made-up but plausible numbers: for tests of pages and claims."""

from __future__ import annotations

import itertools
import zlib

import numpy as np

from holdfast.records import Outcome, Record, Sample
from holdfast.report.run_data import RunData
from holdfast.statistics import rate_by_cluster

STEPS = (0, 30, 70, 140, 200, 400)
POINTS = {
    "seen": ("id", "train", "faces_as_10"),
    "validation": ("id", "validation", "faces_as_10"),
    "id": ("id", "recall", "faces_as_10"),
    "ood": ("ood", "recall", "faces_as_11_12_13"),
    "unseen": ("ood", "recall", "faces_as_5_7_9"),
}
NAVIGATION = {
    "seen": ("id", "train", "absolute"),
    "validation": ("id", "validation", "absolute"),
    "id": ("id", "test", "absolute"),
    "ood": ("ood", "test", "relative"),
    "id_routes": ("id", "test", "absolute"),
    "ood_routes": ("ood", "test", "relative"),
}
TASKS = {"points": ("general_points", POINTS), "navigation": ("navigation", NAVIGATION)}
KEEPS = {"full": 0.15, "attention": 0.75, "mlp": 0.3}
"""Share of OOD success that a module keeps at the rate 1e-3."""
PARAMETERS = {"full": 2_167_840, "attention": 614_400, "mlp": 1_244_160}
WORDS = ("north", "east", "left", "right")


def figure1(seeds=(0, 1, 2), n=40):
    """Two tasks, two ways of matching, three modules."""
    return [
        run({"task": task, "matching": match, "module": module}, seed, module=module, match=match, n=n, study="figure1")
        for task, match, module in itertools.product(TASKS, ("flops", "trainable"), KEEPS)
        for seed in seeds
    ]


def figure3(seeds=(0, 1, 2), n=40):
    """Full fine-tuning of the card game at four rates, with float32 masters and without."""
    return [
        run(
            {"task": "points", "masters": masters, "learning_rate": f"{rate:g}"},
            seed, rate=rate, masters="float32" if masters == "float32" else "stored", n=n, study="figure3",
        )
        for masters, rate in itertools.product(("float32", "stored bfloat16"), (4e-3, 1e-3, 3e-4, 3e-5))
        for seed in seeds
    ]  # fmt: skip


def run(axes, seed, *, module="full", rate=1e-3, match="steps", masters="float32", n=40, study="figure1"):
    """Return one finished run."""
    environment, suites = TASKS[axes["task"]]
    longer = {
        "steps": 1,
        "flops": {"full": 1.0, "attention": 1.3, "mlp": 1.1}[module],
        "trainable": 2_167_840 / PARAMETERS[module],
    }
    steps = tuple(round(step * float(longer[match])) for step in STEPS)
    speed = min(1.0, (rate / 1e-3) ** 0.5) * (0.6 if masters == "stored" else 1.0)
    kept = max(0.02, KEEPS[module] ** max(0.05, rate / 1e-3))
    asked = {
        name: {
            "environment": environment, "purpose": purpose, "split": split, "rule": rule, "size": n,
            "size_during": 0 if name.endswith("routes") else n,
        }
        for name, (purpose, split, rule) in suites.items()
    }  # fmt: skip
    salt = zlib.crc32(f"{sorted(axes.items())}".encode())
    curves = {name: _curve(steps, facts[0], facts[1], speed, kept) for name, facts in suites.items()}
    answers = _answers(suites, curves, steps, seed, salt, n)
    per_step = 3e10 * (1 + 2 * PARAMETERS[module] / PARAMETERS["full"])
    a_step = {
        "steps": 1,
        "flops": per_step,
        "flops_6nd": 9e10,
        "flops_trainable": 4e4 * PARAMETERS[module],
        "tokens": 5e3,
    }
    spent = [{name: step * value for name, value in a_step.items()} for step in steps]
    records = [_record(step, cost, suites, answers, rate, steps) for step, cost in zip(steps, spent, strict=True)]
    recipe = {
        "model_name_or_path": "tiny", "trainable": module, "learning_rate": rate, "master_dtype": masters,
        "data": {"environment": environment, "rule": suites["id"][2]}, "budget": {"steps": 400, "match": match},
        "suites": asked, "seed": seed,
    }  # fmt: skip
    trained = {"label": module, "n_trainable": PARAMETERS[module], "n_parameters": PARAMETERS["full"], "rows": []}
    exposures = {name: "known to the base" if facts[0] == "ood" else "unknown" for name, facts in suites.items()}
    plan = {
        "trainable": trained,
        "flops_total": spent[-1]["flops"] * 0.99,
        "suites": {name: {"exposure": exposure} for name, exposure in exposures.items()},
    }
    result = {
        "status": "finished", "steps": steps[-1], "wall_seconds": 90.0 + seed, "peak_memory_bytes": 1.1e9,
        "code_version": "0.1.0+c0ffee", "recipe_hash": f"{salt:08x}", "base_fingerprint": "9f" * 8,
        "meters": {"swallowed_update_fraction": 0.2 + 0.6 * (rate < 1e-4), "unchanged_after_export_fraction": 0.01},
    }  # fmt: skip
    name = ", ".join(axes.values())
    return RunData(
        folder=None, name=name, axes=axes, seed=seed, status="finished", recipe=recipe, plan=plan,
        metrics=({"step": 400, "nll": 0.01, "tokens_per_second": 9e3, "learning_rate": rate},), records=tuple(records),
        result=result, study=study, answers=answers, notes=("The numbers of this study are made up for a test.",),
    )  # fmt: skip


def _curve(steps, purpose, split, speed, kept):
    way = np.array(steps) / 150
    learned = 1 - np.exp(-3 * speed * way)
    if purpose == "id":
        return 0.05 + 0.93 * learned * (1.0 if split == "train" else 0.6 + 0.4 * kept)
    return np.clip(0.05 + 0.8 * learned * (kept + (1 - kept) * np.exp(-1.2 * speed * way)), 0, 1)


def _answers(suites, curves, steps, seed, salt, n):
    def read(suite, step):
        purpose, _, rule = suites[suite]
        if step not in steps or (suite.endswith("routes") and step not in (steps[0], steps[-1])):
            return ()
        # step 0 is the base: the same for all runs
        draw = np.random.default_rng([0, 0, step] if step == 0 else [seed, salt, step])
        ease = np.random.default_rng(len(suite)).random(n)
        rate = curves[suite][steps.index(step)] + (
            0.0 if step == 0 else 0.03 * np.random.default_rng([seed, salt]).standard_normal()
        )
        right = ease + 0.1 * draw.standard_normal(n) < rate
        return tuple(_sample(k, bool(ok), purpose, rule, whole=suite.endswith("routes")) for k, ok in enumerate(right))

    return read


def _sample(index, ok, purpose, rule, *, whole):
    if whole:
        points = 3 + index % 3
        counts = {"per_step": (points if ok else index % points, points)}
        outcome = Outcome.CORRECT if ok else Outcome.WRONG
        return Sample(index, str(index), "all", "", (), outcome, "", 1 if ok else None, 0.0, {}, counts=counts)
    facts = {"format_ok": True, "right_under_training_rule": None if ok or purpose == "id" else index % 3 == 0}
    confusion = None
    if rule in ("absolute", "relative"):
        own = WORDS[index % 2 + 2 * (rule == "relative")]
        confusion = (own, own if ok else WORDS[index % 4])
        facts["in_trained_action_space"] = None if purpose == "id" else confusion[1] in WORDS[:2]
    else:
        facts["recites_training_solution"] = index % 5 == 0
    outcome = Outcome.CORRECT if ok else Outcome.WRONG
    return Sample(
        index, str(index // 2), "all", "", (), outcome, "", 1 if ok else None, 0.0, facts, confusion=confusion
    )


def _record(step, cost, suites, answers, rate, steps):
    estimates = {}
    for suite in suites:
        samples = answers(suite, step)
        if samples:
            keys = [sample.key for sample in samples]
            estimates[f"eval_{suite}_success"] = rate_by_cluster([s.outcome is Outcome.CORRECT for s in samples], keys)
            for fact in samples[0].facts:
                known = [(s.facts[fact], s.key) for s in samples if s.facts[fact] is not None]
                estimates[f"eval_{suite}_{fact}"] = rate_by_cluster([v for v, _ in known], [k for _, k in known])
            for count in samples[0].counts:
                pairs = [(s.counts[count], s.key) for s in samples]
                trials = [(k < hits, key) for (hits, of), key in pairs for k in range(of)]
                estimates[f"eval_{suite}_{count}"] = rate_by_cluster([v for v, _ in trials], [k for _, k in trials])
    readings = {name: estimate.value for name, estimate in estimates.items()}
    return Record(step, cost, readings | {"update_norm": 30 * rate * (step / steps[-1]) ** 0.5}, estimates)
