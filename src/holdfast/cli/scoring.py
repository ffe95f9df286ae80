"""Score the suites of a recipe once, on one model or on two, with everything a terminal shows of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import typer
import yaml

from holdfast import members
from holdfast.cli.console import console, quiet_libraries, show
from holdfast.cli.progress import watched
from holdfast.errors import RunFolderError
from holdfast.evaluate.evaluate import SuiteResult, evaluate
from holdfast.evaluate.samples import compare as paired
from holdfast.evaluate.samples import write_samples
from holdfast.evaluate.suite import Suite, make_all
from holdfast.models.compute import dtype_named
from holdfast.models.durable import write_json
from holdfast.models.load import load
from holdfast.models.ranks import Ranks
from holdfast.plan.generating import Asked, generates_with
from holdfast.recipe import Recipe
from holdfast.records import Record
from holdfast.report import words
from holdfast.report.tables import Table, repeated_note
from holdfast.run.answering import answering
from holdfast.signals import SIGNALS
from holdfast.train.processes import accelerator, processes
from holdfast.train.progress import Progress, Silent


class Scored(NamedTuple):
    """One model with what it scored, in the suites' order; ``generate_with`` names who answered."""

    model: str
    results: tuple[SuiteResult, ...]
    generate_with: str


def score_and_show(recipe: Recipe, *, against: str | None, output: Path | None, allow_code: bool, again: str) -> None:
    """Score the recipe's model, and perhaps another on the same problems; print a table and keep records and samples.

    Processes of one job (``torchrun``) share the problems; the main one prints and writes.

    Args:
        recipe: Checked; its model is scored.
        against: A second model.
        output: Folder to write to; ``runs/eval-…`` if None.
        allow_code: Whether the recipe may name outside code.
        again: The command that starts over after an interrupt.

    Raises:
        UserError: a model or suite cannot be used, or the folder cannot be written.
    """
    quiet_libraries()
    suites = make_all(recipe, reads=_needs(recipe, allow_code), allow_code=allow_code)
    folder = output or Path("runs") / f"eval-{_plain(recipe.model_name_or_path)}-{recipe.hash()[:8]}"
    ranks = processes()
    ranks.on_main(lambda: str(_writable(folder)))
    names = [recipe.model_name_or_path, *([against] if against else [])]
    with watched(again=again, unit="problem") if ranks.is_main else nullcontext(Silent()) as progress:
        scored = [score(name, recipe, suites, progress=progress, ranks=ranks) for name in names]
    if not ranks.is_main:
        return
    out = console()
    show(out, table_of(scored[0], suites))
    if against:
        show(out, table_of(scored[1], suites))
        show(out, comparison(scored[0], scored[1]))
    for entry, place in zip(scored, (folder, folder / "against"), strict=False):
        keep(entry, recipe, place)
    typer.echo(f"records and samples: {folder}")


def score(model: str, recipe: Recipe, suites: Sequence[Suite], *, progress: Progress, ranks: Ranks) -> Scored:
    """Load a model and let it answer all suites, whose problems the ranks share."""
    loaded = load(
        model, dtype=recipe.dtype, attn_implementation=recipe.attn_implementation, revision=recipe.model_revision
    )
    stored = next(loaded.model.parameters()).dtype
    compute_dtype = stored if recipe.compute_dtype == "auto" else dtype_named(recipe.compute_dtype)
    device = accelerator().device
    placed = loaded.model.to(device)
    asked = sum(suite.size for suite in suites)
    progress.said(f"{model}: {asked} problems")
    progress.started(asked, at=0)
    results, done = [], 0
    asks = Asked(
        config=loaded.model.config,
        reads_pictures=loaded.processor is not None,
        compute_dtype=str(compute_dtype).removeprefix("torch."),
        processes=ranks.count,
        anything=any(not suite.decoding.teacher_forced for suite in suites),
    )
    with answering(
        recipe,
        generates_with(recipe, asks),
        folder=loaded.folder,
        compute_dtype=compute_dtype,
        device=device,
        said=progress.said,
    ) as answerer:
        for suite in suites:
            results.append(
                evaluate(
                    placed,
                    loaded.speaker,
                    suite,
                    batch_size=recipe.per_device_eval_batch_size,
                    compute_dtype=compute_dtype,
                    progress=_counted(progress, done),
                    ranks=ranks,
                    answerer=answerer,
                )
            )
            done += suite.size
    return Scored(model, tuple(results), answerer.name)


def _counted(progress: Progress, before: int) -> Callable[[int, int], None]:
    """Count the answers of one suite on from those ``before`` it."""

    def heard(ended: int, of: int) -> None:  # noqa: ARG001  (the signature of generation)
        progress.logged({"step": before + ended})

    return heard


def table_of(scored: Scored, suites: Sequence[Suite]) -> Table:
    """Return every suite with its success, interval, n, well-formed replies and replies that were cut off."""
    rows = []
    for suite, result in zip(suites, scored.results, strict=True):
        success = result.estimates[f"eval_{suite.name}_success"]
        formed = result.estimates.get(f"eval_{suite.name}_format_ok")
        rows.append(
            (
                suite.name,
                suite.purpose,
                words.percent(success.value),
                words.interval(success.low, success.high),
                str(success.n),
                str(success.clusters),
                words.percent(formed.value if formed else None),
                str(result.unfinished),
            )
        )
    columns = ("suite", "purpose", "success", "95 %", "n", "distinct", "well-formed", "cut off")
    return Table(columns, tuple(rows), "llrrrrrr", (scored.model,))


def comparison(first: Scored, second: Scored) -> Table:
    """Return the second model against the first on the same problems; see `holdfast.evaluate.samples.compare`."""
    rows = []
    results = zip(first.results, second.results, strict=True)
    all_found = [(one, paired(one.samples, other.samples)) for one, other in results]
    for one, found in all_found:
        rows.append(
            (
                one.name,
                str(found.only_first),
                str(found.only_second),
                words.points(found.difference),
                words.signed_interval(found.low, found.high),
                words.p_value(found.p_value),
                str(found.n),
                str(found.clusters),
            )
        )
    columns = ("suite", "only A right", "only B right", "B − A", "95 %", "p", "n", "distinct")
    told = f"A: {first.model}; B: {second.model}; p: exact paired test"
    return Table(columns, tuple(rows), "lrrrrrrr", (told, *repeated_note(found for _, found in all_found)))


def keep(scored: Scored, recipe: Recipe, folder: Path) -> None:
    """Write an evaluation as a run folder of one moment, which `holdfast report` reads like any other."""
    folder = _writable(folder)
    step = int(found[1]) if (found := re.search(r"checkpoint-(\d+)/?$", scored.model)) else 0
    estimates = {name: value for result in scored.results for name, value in result.estimates.items()}
    record = Record(step, {}, {name: estimate.value for name, estimate in estimates.items()}, estimates)
    values = {**recipe.resolved(), "model_name_or_path": scored.model}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
    (folder / "records.jsonl").write_text(json.dumps(record.to_json()) + "\n", encoding="utf-8")
    for result in scored.results:
        write_samples(folder, result.name, step, result.samples)
    facts = {"kind": "evaluation", "generate_with": scored.generate_with}
    write_json(folder / "result.json", {**facts, "status": "finished", "steps": step})


def _needs(recipe: Recipe, allow_code: bool) -> tuple[str, ...]:
    """What the recipe's signal reads: of such a suite only the report half is shown, here as in the run."""
    if recipe.stop is None:
        return ()
    fields = {("name" if key == "signal" else key): value for key, value in recipe.stop.items()}
    needs: tuple[str, ...] = members.build("signal", fields, SIGNALS, allow_code=allow_code).needs
    return needs


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
    except OSError as fault:
        raise RunFolderError(
            f"folder {folder} cannot be written: {fault.strerror}; choose another with --output"
        ) from fault
    return folder


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[-60:]
