"""Plans and results on a terminal: tables of rich, whose cells are never read as markup."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

if TYPE_CHECKING:
    from holdfast.plan import Plan
    from holdfast.report.tables import Table
    from holdfast.study.arms import Arm

JUSTIFY = {"l": "left", "r": "right"}
PLAIN_WIDTH = 160
"""Columns of a table that goes into a file, where nobody can widen the window."""


def console() -> Console:
    """Return a console for stdout; wide where there is no terminal, so that no cell is cut."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PLAIN_WIDTH)


def quiet_libraries() -> None:
    """Turn off the bars with which Transformers accompanies the loading and writing of files; ours stay."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def show(out: Console, table: Table, *, title: str = "") -> None:
    """Print a table of `holdfast.report`."""
    drawn = RichTable(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name, letter in zip(table.columns, table.align, strict=True):
        drawn.add_column(escape(name), justify="right" if JUSTIFY[letter] == "right" else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(escape(cell) for cell in row))
    out.print(drawn)
    for note in table.notes:
        out.print(escape(note), style="dim")


def show_plan(out: Console, plan: Plan) -> None:
    """Print what a run will train, cost and need."""
    selected, budget = plan.selected, plan.recipe.budget
    share = selected.n_parameters / selected.n_total
    out.print(
        f"[bold]{escape(plan.recipe.model_name_or_path)}[/]: {escape(plan.label)} learns, "
        f"{selected.n_parameters:,} of {selected.n_total:,} parameters ({100 * share:.1f} %)"
    )
    _show_roles(out, plan)
    if selected.matched is not None:
        found = selected.matched
        out.print(
            f"matched depth: {found.depth} blocks, {found.n_parameters:,} parameters against {found.target:,} "
            f"({100 * found.mismatch:+.1f} %)"
        )
    of = (
        "" if budget.match == "steps" else f" (matched by {budget.match} to {plan.reference_steps} of {plan.reference})"
    )
    out.print(
        escape(
            f"steps: {plan.steps}{of}; a step: {plan.step.examples:.0f} rows, {plan.step.tokens:,.0f} tokens "
            f"({plan.step.target_tokens:,.0f} learned), {plan.step.flops:.3g} FLOPs; in all {plan.total.flops:.3g}"
        )
    )
    _show_penalty(out, plan)
    _show_replay(out, plan)
    _show_beforehand(out, plan)
    fits = ", ".join(f"{name} {_gigabytes(size)}" for name, size in plan.memory_of.items())
    out.print(
        escape(
            f"memory{'' if plan.processes == 1 else f' of each of {plan.processes} devices'}: about "
            f"{plan.memory.total / 1e9:.2g} GB, fits in {_gigabytes(plan.memory.fits_gb)} ({fits})"
        )
    )
    out.print(escape(f"measured at steps {', '.join(map(str, plan.moments))}"))
    _show_suites(out, plan)
    if plan.probes:
        cap = plan.recipe.probe_budget
        told = "" if cap is None else f", capped at {_share(cap)}"
        at_most = f"{_share(plan.probing)} of the FLOPs of training"
        out.print(escape(f"probes: {', '.join(plan.probes)}; at all moments at most {at_most}{told}"))
    for warning in plan.warnings:
        out.print(f"[yellow]warning[/]: {escape(warning)}")


def _show_penalty(out: Console, plan: Plan) -> None:
    asked, found = plan.recipe.penalty, plan.penalty
    if asked is not None and found is not None:
        out.print(
            f"penalty on the update: {asked.name} of {len(found.names)} tensors, k {asked.k:g}, strength "
            f"{asked.strength:g}, {100 * found.flops / plan.step.flops:.2g} % of the FLOPs of a step"
        )


def _show_replay(out: Console, plan: Plan) -> None:
    from holdfast.recipe import replay_in_words  # late: this file is read for every --help

    told = replay_in_words(plan.recipe.data.model_dump())
    if told:
        out.print(escape(f"{told}, in the place of rows of the data"))


def _show_beforehand(out: Console, plan: Plan) -> None:
    before = plan.beforehand
    if before.problems:
        out.print(
            f"before the first step: {before.samples} answers to each of {before.problems} problems are drawn by the "
            f"untrained model, about {before.spent.generated_tokens:,.0f} tokens (if as long as demonstrations)"
        )
    if before.replayed:
        out.print(f"before the first step: the untrained model answers {before.replayed:,} questions for replay")
    if before.spent.flops:
        out.print(f"before the first step: {before.spent.flops:.3g} FLOPs, counted in the whole")


def _show_roles(out: Console, plan: Plan) -> None:
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("role", "left"), ("parameters", "right"), ("learning", "right"), ("in blocks", "left")):
        table.add_column(name, justify="right" if justify == "right" else "left")
    for row in plan.selected.rows():
        learning = f"{row.n_parameters:,}" if row.n_parameters else "·"
        table.add_row(row.role, f"{row.of_parameters:,}", learning, row.layers)
    out.print(table)


def _show_suites(out: Console, plan: Plan) -> None:
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    for name in ("suite", "purpose", "asks", "n", "this rule is"):
        table.add_column(name, justify="right" if name == "n" else "left")
    for name, suite in plan.suites.items():
        n = str(suite.n) if suite.n == suite.n_during else f"{suite.n} ({suite.n_during} in between)"
        table.add_row(name, suite.purpose, escape(suite.rule or suite.path or ""), n, suite.exposure)
    if plan.suites:
        out.print(table)


def show_arms(out: Console, arms: Sequence[Arm]) -> None:
    """Print the runs of a study."""
    seeds = sorted({arm.seed for arm in arms})
    names = list(dict.fromkeys(arm.name for arm in arms))
    out.print(f"{len(arms)} runs: {len(names)} arms, seeds {', '.join(map(str, seeds))}")
    for name in names:
        addresses = " ".join(arm.address for arm in arms if arm.name == name)
        out.print(escape(f"  {name}  [{addresses}]"))


def _share(value: float) -> str:
    return f"{100 * value:,.0f} %" if value >= 0.1 else f"{100 * value:.2g} %"


def _gigabytes(size: int | None) -> str:
    return "no usual machine" if size is None else f"{size} GB"
