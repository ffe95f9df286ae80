"""One run on one screen: recipe → plan → model and selection → data → training with moments → a folder to look at.

A run folder holds ``recipe.yaml`` (resolved), ``plan.json``, ``metrics.jsonl``, ``records.jsonl``,
``samples/<suite>/<step>.jsonl``, ``checkpoint-N/``, ``result.json``, ``report.html`` and ``README.md``; and of a method
that learns from answers of the untrained model, ``drawn.jsonl``, of replay of such answers, ``replay.jsonl``. Of a job
of several ranks the main one alone reads and writes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from holdfast.data.sources import Source
from holdfast.errors import RunFolderError, UserError
from holdfast.evaluate.suite import make_all
from holdfast.models.adapters import adapt
from holdfast.models.compute import dtype_named, recompute_activations, set_masters
from holdfast.models.durable import write_json
from holdfast.models.load import Loaded
from holdfast.models.ranks import Ranks
from holdfast.objectives.subspace_penalty import SHARDED
from holdfast.plan import Plan, plan
from holdfast.probes.asked import probes_of, suites_read
from holdfast.recipe import Recipe
from holdfast.records import Record
from holdfast.rollout.answerer import named_unless_usual
from holdfast.run.answering import answering
from holdfast.run.healing import HealedModel, load_healed
from holdfast.run.methods import Maker, Start, load_for
from holdfast.run.observer import Observer, read_records, read_result
from holdfast.run.penalizing import with_penalty
from holdfast.run.probing import Probing, refuse_sharded
from holdfast.selection.apply import fingerprint_frozen, verify_frozen
from holdfast.signals.base import Signal
from holdfast.signals.spec import signal_of
from holdfast.train import run_folder
from holdfast.train.budget import Spent
from holdfast.train.loop import Loop
from holdfast.train.processes import accelerator as processes_accelerator
from holdfast.train.processes import processes, sharded, spread
from holdfast.train.progress import Progress, Silent
from holdfast.train.schedule import warmup
from holdfast.train.stepping import Settings, seed_everything
from holdfast.train.update_norm import UpdateNorm


@dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes:
        folder: The run folder.
        status: ``finished``, ``stopped`` by its signal, or ``interrupted`` (the same command goes on).
        steps: Optimizer steps taken.
        records: One a moment.
    """

    folder: Path
    status: str
    steps: int
    records: tuple[Record, ...]


def run(
    recipe: Recipe,
    *,
    folder: Path,
    planned: Plan | None = None,
    progress: Progress | None = None,
    base_cache: Path | None = None,
    allow_code: bool = False,
) -> RunResult:
    """Train as ``recipe`` says and leave a run folder. A finished folder is left as it is; a broken-off one goes on.

    Args:
        recipe: Checked by `holdfast.plan.check`.
        folder: Made if it is missing.
        planned: The recipe's plan, if it was made already.
        progress: Hears of the run as it goes.
        base_cache: Folder in which runs share the scores of the untrained base (step 0).
        allow_code: Whether the recipe may name outside code.

    Raises:
        UserError: the recipe cannot be carried out here, or the folder holds another run.
        NonFiniteLoss: training diverged; the folder keeps its last checkpoint.
    """
    ranks = processes()
    if recipe.lora is not None and sharded():
        raise UserError("lora: a model with adapters cannot be sharded (FSDP) yet; run it in one process or in DDP")
    if recipe.penalty is not None and sharded():
        raise UserError(SHARDED)
    progress = progress if progress is not None and ranks.is_main else Silent()
    with ExitStack() as held:
        with ranks.together():
            if ranks.is_main:  # which holds the lock for all
                held.enter_context(run_folder.lock(folder))
        before = ranks.on_main(lambda: read_result(folder))
        if before is not None and before["status"] != "interrupted":
            _refuse_other(folder, before, recipe)
            progress.said(f"{folder} is finished already")
        else:
            planned = planned or plan(recipe, allow_code=allow_code, num_processes=ranks.count, sharded=sharded())
            _carry_out(
                recipe,
                planned,
                folder=folder,
                progress=progress,
                base_cache=base_cache,
                allow_code=allow_code,
                ranks=ranks,
                held=held,
            )
        result = ranks.on_main(lambda: read_result(folder))
        records = ranks.on_main(lambda: [record.to_json() for record in read_records(folder)])
    return RunResult(folder, result["status"], result["steps"], tuple(map(Record.from_json, records)))


def _carry_out(
    recipe: Recipe,
    planned: Plan,
    *,
    folder: Path,
    progress: Progress,
    base_cache: Path | None,
    allow_code: bool,
    ranks: Ranks,
    held: ExitStack,
) -> None:
    started = time.monotonic()
    seed_everything(recipe.seed, rank=ranks.index)
    accelerator = processes_accelerator(log_with=recipe.report_to or None, project_dir=str(folder))
    if recipe.report_to:
        accelerator.init_trackers("holdfast")
    ranks.on_main(lambda: _begin(folder, recipe, planned))
    loaded, stored, distance, frozen, healed = _load(recipe, planned, ranks, cache=base_cache, allow_code=allow_code)
    settings = settings_of(recipe, steps=planned.steps, stored=stored)
    dtype, device = settings.compute_dtype, accelerator.device
    who = answering(
        recipe, planned.generates_with, folder=loaded.folder, compute_dtype=dtype, device=device, said=progress.said
    )
    answerer = held.enter_context(who)
    maker = Maker(
        Start(
            recipe=recipe,
            planned=planned,
            folder=folder,
            loaded=loaded,
            compute_dtype=settings.compute_dtype,
            ranks=ranks,
            said=progress.said,
            allow_code=allow_code,
            answerer=answerer,
        )
    )
    if recipe.gradient_checkpointing:
        recompute_activations(loaded.model)
    model = spread(loaded.model, accelerator, compute_dtype=settings.compute_dtype)
    made = maker.make(model)
    before = Spent().plus(made.spent).plus({} if healed is None else {"flops": healed.flops})
    method = with_penalty(maker.start, made.method)  # before masters are restored
    loop = Loop(model, method, settings=settings, accelerator=accelerator, spent=before)
    signal = None if recipe.stop is None else signal_of(recipe.stop, allow_code=allow_code)
    observer = Observer(
        recipe=recipe,
        folder=folder,
        progress=progress,
        loaded=loaded,
        selected=planned.selected,
        changing=planned.changing,
        suites=make_all(recipe, reads=_reads(recipe, signal, allow_code=allow_code), allow_code=allow_code),
        signal=signal,
        distance=distance,
        probing=_probing(recipe, planned, maker, distance, folder=folder, said=progress.said),
        accelerator=accelerator,
        save_dtype=stored if recipe.save_dtype == "auto" else dtype_named(recipe.save_dtype),
        compute_dtype=settings.compute_dtype,
        last_step=planned.steps,
        base_cache=base_cache,
        identity=_identity(recipe, loaded, made.rows, ranks) | named_unless_usual(answerer),
        ranks=ranks,
        answerer=answerer,
        healed=healed,
    )
    observer.restore(loop)
    progress.started(planned.steps, at=loop.step)
    ended = observer.train(loop, planned)
    if ended.status != "interrupted":
        with ranks.together():
            verify_frozen(loaded.model, frozen)
        observer.save(loop)
    ranks.on_main(lambda: observer.finish(ended, wall_seconds=time.monotonic() - started))


class _Loaded(NamedTuple):
    """The model as it begins: its masters set, and what is kept of it for later."""

    loaded: Loaded
    stored: torch.dtype
    distance: UpdateNorm | None
    frozen: Mapping[str, str]
    healed: HealedModel | None


def _load(recipe: Recipe, planned: Plan, ranks: Ranks, *, cache: Path | None, allow_code: bool) -> _Loaded:
    with ranks.together():  # what one rank cannot read, none trains on
        healed = load_healed(recipe, cache=cache, allow_code=allow_code) if recipe.heal is not None else None
        loaded = load_for(recipe) if healed is None else healed.loaded
        selected, stored = planned.selected, next(loaded.model.parameters()).dtype
        # The base's values are taken down here, before masters are restored; only the rank that measures needs them.
        distance = (
            UpdateNorm(loaded.model, folder=loaded.folder, trained=planned.changing, whole=planned.whole)
            if ranks.is_main
            else None
        )
        if recipe.lora is not None:
            adapt(loaded.model, planned.changing, lora=recipe.lora, seed=recipe.seed)
        set_masters(loaded.model, selected.names, masters=recipe.master_dtype)
        return _Loaded(loaded, stored, distance, fingerprint_frozen(loaded.model, selected), healed)


def _begin(folder: Path, recipe: Recipe, planned: Plan) -> None:
    run_folder.remove_litter(folder)
    (folder / "result.json").unlink(missing_ok=True)
    write_json(folder / "plan.json", planned.to_json())
    resolved = yaml.safe_dump(recipe.resolved(), sort_keys=False, allow_unicode=True)
    (folder / "recipe.yaml").write_text(resolved, encoding="utf-8")


def _probing(
    recipe: Recipe,
    planned: Plan,
    maker: Maker,
    distance: UpdateNorm | None,
    *,
    folder: Path,
    said: Callable[[str], None],
) -> Probing:
    probes = probes_of(recipe, allow_code=maker.start.allow_code)
    if sharded():
        refuse_sharded(probes)
    cap = None if recipe.probe_budget is None else recipe.probe_budget * planned.total.flops
    return Probing(probes, maker.stage(None if distance is None else distance.base), folder, cap, said)


def _reads(recipe: Recipe, signal: Signal | None, *, allow_code: bool) -> tuple[str, ...]:
    if signal is None:
        return ()
    return (*signal.needs, *suites_read(recipe, signal.needs, allow_code=allow_code))


def settings_of(recipe: Recipe, *, steps: int, stored: torch.dtype) -> Settings:
    """Return how the loop steps. ``compute_dtype: auto`` computes in the dtype of the model's files."""
    return Settings(
        steps=steps,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.lr_scheduler_type,
        warmup_steps=warmup(recipe.warmup_steps, total=steps),
        weight_decay=recipe.weight_decay,
        adam_beta1=recipe.adam_beta1,
        adam_beta2=recipe.adam_beta2,
        adam_epsilon=recipe.adam_epsilon,
        max_grad_norm=recipe.max_grad_norm,
        logging_steps=recipe.logging_steps,
        save_steps=recipe.save_steps,
        compute_dtype=stored if recipe.compute_dtype == "auto" else dtype_named(recipe.compute_dtype),
        swallow_dtype=stored,
    )


def _identity(recipe: Recipe, loaded: Loaded, rows: Source, ranks: Ranks) -> dict[str, str]:
    # Rows of a step and the order of sums depend on the ranks.
    spread_over = {"processes": f"{ranks.count}{', sharded' if sharded() else ''}"} if ranks.count > 1 else {}
    return spread_over | {
        "recipe": recipe.hash(),
        "base": loaded.fingerprint,
        "tokenizer": loaded.tokenizer_fingerprint,
        "data": rows.fingerprint(),
        "torch": str(torch.__version__),
        "threads": str(torch.get_num_threads()),
    }


def _refuse_other(folder: Path, result: Mapping[str, Any], recipe: Recipe) -> None:
    if result["recipe_hash"] != recipe.hash():
        raise RunFolderError(
            f"{folder} holds a finished run of another recipe ({result['recipe_hash']}, this is {recipe.hash()}); "
            "give another --output_dir"
        )
