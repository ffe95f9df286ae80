"""The paper's table 2: every module at its best, selected three ways, with the paper's own numbers beside."""

from __future__ import annotations

from holdfast.errors import NotRecorded
from holdfast.report import words
from holdfast.report.choosing import RULES, WORDS, By, Chosen, choose
from holdfast.report.compare import Arm, called
from holdfast.report.contrasts import Term, level, measure
from holdfast.report.going_on import REINFORCED
from holdfast.report.groups import Section, flat, method_of
from holdfast.report.run_data import VALIDATION, SuiteFacts
from holdfast.report.sections import paper
from holdfast.report.sections.base import Part, cell, id_suite, ood_suite, seeds_told, signed_cell, validation_suite
from holdfast.report.tables import Table


def part(section: Section) -> Part | None:
    """Tabulate the chosen of each module; None with fewer than two modules."""
    modules = modules_of(section)
    asked, known, validation = ood_suite(section), id_suite(section), validation_suite(section)
    if len(modules) < 2 or asked is None or known is None or validation is None:
        return None
    rows = [row for rule in RULES for row in _rows(modules, rule, section, asked, known, validation)]
    columns = ("selected by", "module", "arm", "step", called(asked), "against the first", called(known), "paper, OOD")
    split = (
        "of problems that no table shows"
        if validation.split == VALIDATION
        else f"on {validation.name}, which is shown too"
    )
    note = (
        f"ID validation: success on {validation.name}, {split}. The oracle chooses by the very OOD success it "
        "reports: the best of several noisy rates, hence too high. The choosing is no part of the intervals. "
        f"{seeds_told(section)} The paper (table 2, Llama-3.2-Vision-11B) does not say how it selected."
    )
    return Part("Every module at its best", tables=[Table(columns, tuple(rows), "lllrrrrr", (note,))])


def modules_of(section: Section) -> dict[str, list[Arm]]:
    """Return the arms by what they train, reinforcement apart."""
    found: dict[str, list[Arm]] = {}
    for arm in section.arms:
        if arm.measured:
            found.setdefault(_module(arm), []).append(arm)
    return found


def _module(arm: Arm) -> str:
    recipe = arm.runs[0].recipe
    told = (arm.runs[0].plan.get("trainable") or {}).get("label")
    trained = told or ", ".join(flat({"trainable": recipe.get("trainable", "")}).values())
    return f"{trained}, SFT + RL" if method_of(arm.runs[0]) in REINFORCED else str(trained)


def _rows(
    modules: dict[str, list[Arm]],
    rule: By,
    section: Section,
    asked: SuiteFacts,
    known: SuiteFacts,
    validation: SuiteFacts,
) -> list[tuple[str, ...]]:
    rows = []
    first: Chosen | None = None
    for module, arms in modules.items():
        try:
            chosen = choose(arms, by=rule, known=validation.name, asked=asked.name)
        except NotRecorded:
            rows.append((WORDS[rule], module, "not recorded", *[words.UNKNOWN] * 5))
            continue
        ours = Term(chosen.arm, asked.name, chosen.moments)
        against = None if first is None else measure([ours, Term(first.arm, asked.name, first.moments, -1.0)])
        rows.append(
            (
                WORDS[rule],
                module,
                chosen.arm.name,
                str(chosen.step),
                cell(level(chosen.arm, asked.name, chosen.moments)),
                signed_cell(against.estimate if against else None),
                cell(level(chosen.arm, known.name, chosen.moments)),
                _papers(chosen.arm, section),
            )
        )
        first = first or chosen
    if not any(module.endswith("SFT + RL") for module in modules):
        empty = next((one for one in paper.best(section) if one.name), None)
        theirs = words.UNKNOWN if empty is None else f"{empty.value:.2f} %"
        rows.append((WORDS[rule], "SFT + RL", "not run yet", *[words.UNKNOWN] * 4, theirs))
    return rows


def _papers(arm: Arm, section: Section) -> str:
    return next((f"{one.value:.2f} %" for one in paper.best(section) if paper.same(arm, one.arm)), words.UNKNOWN)
