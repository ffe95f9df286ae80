"""What a report warns of, and what it does not show: found in the runs, not left to the author's memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holdfast.report import words
from holdfast.report.compare import Arm, all_suites, end_of
from holdfast.report.pairing import solved
from holdfast.report.run_data import RunData
from holdfast.report.stopping import reads_what_is_shown

HALF_UNCHANGED = 0.5


def warnings(groups: Sequence[Arm]) -> list[str]:
    """Return what went wrong or looks wrong; runs that share a warning share its line."""
    runs = [run for arm in groups for run in arm.runs]
    whose: dict[str, list[str]] = {}
    for run in runs:
        for told in dict.fromkeys(_run_warnings(run)):
            whose.setdefault(told, []).append(f"{run.name}, seed {run.seed}")
    return [f"{_some(names, of=len(runs))}: {told}" for told, names in whose.items()]


METERS = {
    "swallowed_update_fraction": (
        "of one step's updates are below the spacing of the weights in their file's dtype; float32 masters kept them, "
        "training in that dtype would have lost them."
    ),
    "unchanged_after_export_fraction": (
        "of the trained weights are, after export, exactly those of the base; export in float32, round stochastically, "
        "or raise the learning rate."
    ),
}
"""What a meter's reading means where it is high."""


def not_shown(groups: Sequence[Arm]) -> list[str]:
    """Return the limits of the page, the study author's own words first."""
    notes = dict.fromkeys(note for arm in groups for run in arm.runs for note in run.notes)
    return [*notes, *_seeds(groups), *_problems(groups), *_comparisons(groups), *_exposure(groups), *_signals(groups)]


def _some(names: Sequence[str], *, of: int) -> str:
    if len(names) == of:
        return "All runs" if of > 1 else names[0]
    return "; ".join(names) if len(names) < 4 else f"{'; '.join(names[:2])} and {len(names) - 2} more runs"


def _run_warnings(run: RunData) -> Iterator[str]:
    if not run.records:
        yield f"nothing was recorded (status: {run.status})."
    elif run.status not in ("finished", "stopped"):
        yield f"status is {run.status}; the last moment stands for the end."
    yield from (f"{fault}." for fault in run.faults)
    yield from (str(warning) for warning in run.plan.get("warnings", []))
    if run.result.get("frozen_verified") is False:
        yield "it was not verified that frozen weights stayed as they were."
    for meter, share in run.result.get("meters", {}).items():
        if share is not None and share > HALF_UNCHANGED:
            yield f"{words.percent(share)} {METERS[meter]}"
    for name in run.suites:
        yield from _disagreements(run, name)


def _disagreements(run: RunData, suite: str) -> Iterator[str]:
    end = end_of(run, suite)
    for step in {0, end.step} if end is not None else set():
        record, samples = run.record_at(step), run.samples(suite, step)
        told = None if record is None else record.readings.get(f"eval_{suite}_success")
        if told is None or not samples:
            continue
        counted = sum(map(solved, samples)) / len(samples)
        if abs(counted - told) > 1e-9:
            yield (
                f"records.jsonl says {words.percent(told)} success on {suite} at step {step}, the graded "
                f"problems say {words.percent(counted)}."
            )


def _seeds(groups: Sequence[Arm]) -> Iterator[str]:
    single = [arm.name for arm in groups if len(arm.measured) == 1]
    if single:
        of_whom = "Every arm" if len(single) == len(groups) else words.listed(single)
        yield f"{of_whom} ran with one seed: how much another seed would differ is not known."
    if len(single) < len(groups):
        yield (
            "Intervals and p-values speak of other problems, given these very seeds; the spread over seeds stands "
            "beside them and is not part of them."
        )


def _problems(groups: Sequence[Arm]) -> Iterator[str]:
    repeated = []
    for suite in all_suites(groups):
        one = next((run for arm in groups for run in arm.measured if suite.name in run.suites), None)
        record = None if one is None else end_of(one, suite.name)
        end = None if record is None else record.estimates.get(f"eval_{suite.name}_success")
        if end is not None and end.clusters < 0.8 * end.n:
            repeated.append(f"{end.clusters} of {end.n} in {suite.name}")
    if repeated:
        yield f"Many problems repeat one another (distinct are {words.listed(repeated)}); intervals count each once."
    yield (
        "p-values are adjusted (Holm) within each table of this page, not for other pages, suites or settings that "
        "were tried before."
    )


def _comparisons(groups: Sequence[Arm]) -> Iterator[str]:
    if len(groups) < 2:
        return
    selections = {str([arm.runs[0].recipe.get(key) for key in ("trainable", "lora")]) for arm in groups}
    rates = {arm.runs[0].recipe.get("learning_rate") for arm in groups}
    if len(selections) > 1 and len(rates) == 1:
        yield "Parts of the network are compared at one learning rate; another rate may order them differently."
    ends = [run.records[-1].spent.get("flops") for arm in groups for run in arm.measured]
    flops = [spent for spent in ends if spent]
    if flops and max(flops) > 1.05 * min(flops):
        yield (
            f"Arms did not spend the same compute: {words.power_of_ten(min(flops))} to "
            f"{words.power_of_ten(max(flops))} training FLOPs."
        )
    answered_by = {str(run.result.get("generate_with", "transformers")) for arm in groups for run in arm.measured}
    if len(answered_by) > 1:
        yield f"Arms were answered by different programs ({words.listed(sorted(answered_by))}), whose rounding differs."
    bases = {str(arm.runs[0].recipe.get("model_name_or_path")) for arm in groups}
    if len(bases) == 1:
        yield "All arms start from one base model; other models may behave differently."


def _exposure(groups: Sequence[Arm]) -> Iterator[str]:
    suites = all_suites(groups)
    known = [suite.name for suite in suites if suite.purpose != "id" and suite.exposure == "known to the base"]
    unknown = [suite.name for suite in suites if suite.purpose != "id" and suite.exposure == "unknown"]
    if known:
        yield f"{words.listed(known)}: the base has met such rules, so that a loss there is forgetting."
    if unknown:
        yield f"{words.listed(unknown)}: whether the base has met such problems is not known."


def _signals(groups: Sequence[Arm]) -> Iterator[str]:
    if reads_what_is_shown(groups):
        yield (
            "Patience was replayed on the very problems that the tables show (the suites are not split into a select "
            "and a report half), which flatters what it keeps."
        )
    yield "A peak in hindsight is the best of several noisy rates, hence too high: a yardstick, not a method."
