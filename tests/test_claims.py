"""Every claim of a paper has a row in `docs/claims.yaml`, and every row can be judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.records import Record
from holdfast.report.claims import KINDS, read_claims
from holdfast.report.claims.base import Cell, matching
from holdfast.report.claims.rows import ARMS, asked
from holdfast.report.groups import sections
from holdfast.report.run_data import RunData
from holdfast.study import load

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docs" / "claims.yaml"
SENTENCES = {
    "000": [
        # abstract
        "fine-tuning only the attention layers substantially improves OOD generalization",
        "full-parameter or feedforward neural networks only tuning predominantly increases memorization",
        "attention-only SFT achieves performance comparable to state-of-the-art reinforcement learning",
        # contributions
        "feedforward neural networks are prone to memorization and fail OOD generalization",
        "attention-only fine-tuning significantly improves generalization",
        "smaller learning rates prevent collapse",
        "allowing SFT to achieve OOD performance competitive with, and in some cases surpassing, RL-based methods",
        # figure 1 and its discussion
        "FNN-only finetuning consistently exhibits performance degradation across all the OOD evaluations on all tasks",
        "whereas attention-only fine-tuning preserves the OOD generalization",
        "all three strategies quickly achieve near-perfect performance",
        "full fine-tuning and FNN-only tuning converge slightly faster on GP benchmark",
        "success rates on GP collapse dramatically",
        "per-step accuracy on V-IRL drops to almost zero",
        "attention-only fine-tuning sustains substantially higher OOD performance",
        "maintains success rates above 10%",
        "outperforming the other modules fine-tuning by a wide margin",
        "preserves per-step accuracy above 70–80% even at later stages",
        "Fine-tuning feedforward layers or the full model achieves strong in-distribution performance but collapses",
        # figure 2 and its discussion
        "attention-only fine-tuning substantially outperforms both, reaching close to 100% success rate",
        "plateau at low success rates (6–8%) and exhibit strong instability",
        "maintains consistently higher performance, with success rates in the 10–15% range throughout training",
        "its generalization benefits are not simply a byproduct of fewer parameters being updated",
        "memorization during SFT is tied to FNN updates",
        "without additional computational overhead",
        "Even under matched numbers of trainable parameters, attention-only tuning yields superior",
        # figure 3 and its discussion
        "a higher learning rate (1e-6) leads to rapid convergence",
        "smaller learning rates converge more slowly and to lower ceilings",
        "1e-8 lags significantly before eventually catching up",
        "high learning rates accelerate memorization of training data",
        "Models fine-tuned with 1e-6 suffer from severe generalization collapse",
        "OOD accuracy for 1e-6 drops below 5% after a few thousand steps",
        "1e-7 and 1e-8 maintain substantially higher and more stable accuracy",
        "1e-6 initially peaks but rapidly degrades to near-zero success rates",
        "large learning rates amplify memorization and harm OOD generalization",
        "the magnitude of parameter updates is another key factor in controlling memorization",
        "using smaller learning rates prevents collapse and enables SFT to reach, or even exceed, RL-induced",
        # table 2 and the conclusion
        "performing on par with or better than state-of-the-art SFT+RL methods",
        "this advantage holds even under matched trainable parameters and total training FLOPs",
        "selective attention-only SFT is a simple, computationally efficient strategy",
    ],
    "001": [
        "SFT initially improves OOD performance but then causes it to degrade",
        "OOD performance drop by 48%",
        'RL-FT primarily acts as a "memory restorer,"',
        "RL recovered up to 99% of the lost OOD performance",
        "a small reduction in the model's highly specialized ID accuracy",
        "if SFT pushes the model into severe overfitting",
        "remained remarkably stable throughout both SFT and RL",
        "concentrate on the directions corresponding to the largest and smallest singular values",
        "preserving core, low-index features",
        "rotating its singular vectors in similar ways",
        "are far more critical for performance than changes in their *magnitudes*",
        "top 20% of singular values or the first 25% of layers can recover 70% to 80%",
        "primarily encoded in these top-rank singular directions and shallower layers",
        "intermediate layers tend to specialize during SFT",
        "caused a significant drop in OOD accuracy",
        "essential for its success",
        "low-rank or shallow-layer resets, as effective alternatives to costly RL-FT",
    ],
    "003": [
        "SFT primarily acts as a denoising mechanism within an extremely short training window",
        "after which it rapidly overfits, leading to performance degradation",
        "empirically validates the necessity of early stopping across multiple LLMs and datasets",
        "SFT is broadly effective for small-scale deep neural networks, yet can produce inconsistent",
        "the evolution of interactions during SFT can effectively explain the inconsistent effectiveness of SFT",
        "SFT primarily removes noise-like interactions, while rarely acquiring reliable new interactions",
        "This denoising stage is extremely brief",
        "continued fine-tuning tends to introduce overfitted interactions",
        "provide new insights into early stopping and offer practical guidance",
    ],
}


@pytest.fixture(scope="module")
def rows():
    return read_claims(FILE).claims


@pytest.mark.parametrize(("seed", "sentence"), [(seed, words) for seed, all_ in SENTENCES.items() for words in all_])
def test_a_claim_of_a_paper_has_a_row(rows, seed, sentence):
    said = [words for row in rows if row.seed == seed for words in (row.quote, *(one.quote for one in row.also))]
    assert [words for words in said if sentence in words], "give it a row in docs/claims.yaml"


def test_every_kind_of_quantity_is_used_by_a_row(rows):
    assert {row.quantity["kind"] for row in rows} == set(KINDS)


def test_every_row_has_bounds_that_both_verdicts_can_come_of(rows):
    for row in rows:
        above, below = row.quantity.get("above"), row.quantity.get("below")
        assert above is None or below is None or above < below, row.id


def test_every_row_names_study_files_that_exist(rows):
    assert [study for row in rows for study in row.studies if not (ROOT / study).is_file()] == []


@pytest.mark.parametrize("file", sorted({file for row in read_claims(FILE).claims for file in row.studies}))
def test_every_arm_of_a_row_is_found_in_its_studies(file):
    claims = read_claims(FILE)
    runs = [planned(arm) for arm in load(ROOT / file).arms]
    own = [row for row in claims.claims if file in row.studies and "sft and rl" not in row.quantity.values()]
    assert own
    for row in own:
        for section in sections(matching(runs, row.only)):
            cell = Cell(section, claims.arms, claims.suites)
            for quantity in asked(row.quantity):
                names = [quantity[key] for key in ARMS if key in quantity]
                assert all(cell.several(name) for name in names), (row.id, section.name)
                assert row.each or row.quantity["kind"] in ("best", "trend") or all(cell.arm(name) for name in names)


def planned(arm):
    """A run of a study as if its first moment were recorded, read as `load_runs` reads it."""
    recipe = {**arm.recipe.resolved(), "model_name_or_path": arm.base}
    if arm.start is not None:
        recipe["starts_from"] = {"arm": arm.start.arm, "step": arm.start.step}
    if arm.toward is not None:
        recipe["heal"] = {**recipe["heal"], "toward": {"arm": arm.toward.arm, "step": arm.toward.step}}
    return RunData(
        folder=ROOT, name=arm.name, axes=arm.labels, seed=arm.seed, status="finished", recipe=recipe,
        plan={}, metrics=(), records=(Record(0, {}, {}),), result={},
    )  # fmt: skip
