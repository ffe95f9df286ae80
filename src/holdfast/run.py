"""One run on one screen: recipe → plan → model and selection → data → training with moments → a folder to look at.

A run folder holds ``recipe.yaml`` (resolved), ``plan.json``, ``metrics.jsonl``, ``records.jsonl``,
``samples/<suite>/<step>.jsonl``, ``checkpoint-N/``, ``result.json``, ``report.html`` and ``README.md``.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator

from holdfast import __version__, report
from holdfast.data.batches import Batches
from holdfast.data.encode import preview
from holdfast.data.sources import Source, source_of
from holdfast.errors import RunFolderError
from holdfast.evaluate.base_scores import evaluate_cached
from holdfast.evaluate.samples import write_samples
from holdfast.evaluate.suite import Suite, make_all, rules_in_play
from holdfast.members import build
from holdfast.models.compute import dtype_named, exported, recompute_activations, set_masters
from holdfast.models.cost import cost
from holdfast.models.durable import write_json
from holdfast.models.load import Loaded, load
from holdfast.objectives import OBJECTIVES
from holdfast.objectives.engine import Engine
from holdfast.plan import Plan, plan
from holdfast.recipe import Recipe
from holdfast.records import Decision, Record, Verb
from holdfast.rollout.generate import positions
from holdfast.selection import Selected
from holdfast.selection.apply import fingerprint_frozen, verify_frozen
from holdfast.signals import SIGNALS
from holdfast.signals.base import Signal
from holdfast.statistics import Estimate
from holdfast.train import checkpoint, meters, run_folder
from holdfast.train.loop import Ended, Loop, Moment, Settings, seed_everything
from holdfast.train.processes import accelerator as processes_accelerator
from holdfast.train.processes import processes
from holdfast.train.progress import Progress, Silent
from holdfast.train.schedule import warmup
from holdfast.train.sft import SFT


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
    everyone = processes()
    # One writer: the main process holds the lock for all.
    with run_folder.lock(folder) if everyone.is_main_process else nullcontext():
        before = read_result(folder)
        everyone.wait_for_everyone()
        if before is not None and before["status"] != "interrupted":
            _refuse_other(folder, before, recipe)
            (progress or Silent()).said(f"{folder} is finished already")
        else:
            planned = planned or plan(recipe, allow_code=allow_code, num_processes=everyone.num_processes)
            _carry_out(
                recipe,
                planned,
                folder=folder,
                progress=progress if progress is not None and everyone.is_main_process else Silent(),
                base_cache=base_cache,
                allow_code=allow_code,
            )
        everyone.wait_for_everyone()
    result = read_result(folder)
    assert result is not None
    return RunResult(folder, result["status"], result["steps"], tuple(read_records(folder)))


def _carry_out(
    recipe: Recipe,
    planned: Plan,
    *,
    folder: Path,
    progress: Progress,
    base_cache: Path | None,
    allow_code: bool,
) -> None:
    started = time.monotonic()
    seed_everything(recipe.seed)
    accelerator = processes_accelerator(log_with=recipe.report_to or None, project_dir=str(folder))
    if recipe.report_to:
        accelerator.init_trackers("holdfast")
    if accelerator.is_main_process:
        run_folder.remove_litter(folder)
        (folder / "result.json").unlink(missing_ok=True)
        write_json(folder / "plan.json", planned.to_json())
        resolved = yaml.safe_dump(recipe.resolved(), sort_keys=False, allow_unicode=True)
        (folder / "recipe.yaml").write_text(resolved, encoding="utf-8")

    loaded = load(
        recipe.model_name_or_path,
        dtype=recipe.dtype,
        attn_implementation=recipe.attn_implementation,
        revision=recipe.model_revision,
    )
    stored = next(loaded.model.parameters()).dtype
    selected = planned.selected
    set_masters(loaded.model, selected.names)
    frozen = fingerprint_frozen(loaded.model, selected)

    rows = source_of(
        recipe.data,
        rules=rules_in_play(recipe),
        tokenizer=loaded.tokenizer,
        max_length=_longest(recipe.max_length, positions(loaded.model)),
        allow_code=allow_code,
    )
    settings = settings_of(recipe, steps=planned.steps, stored=stored)
    method, model = _sft(recipe, loaded, rows, selected, accelerator=accelerator, allow_code=allow_code)
    method.batches.prepare(planned.steps)
    progress.said(preview(rows.take([0])[0], loaded.tokenizer))
    loop = Loop(model, method, settings=settings, accelerator=accelerator)
    signal: Signal | None = None
    if recipe.stop is not None:
        signal = signal_of(recipe.stop, allow_code=allow_code)
    observer = Observer(
        recipe=recipe,
        folder=folder,
        progress=progress,
        loaded=loaded,
        selected=selected,
        suites=make_all(recipe, reads=signal.needs if signal else (), allow_code=allow_code),
        signal=signal,
        accelerator=accelerator,
        save_dtype=stored if recipe.save_dtype == "auto" else dtype_named(recipe.save_dtype),
        compute_dtype=settings.compute_dtype,
        last_step=planned.steps,
        base_cache=base_cache,
        identity=_identity(recipe, loaded, rows),
    )
    observer.restore(loop)
    progress.started(planned.steps, at=loop.step)
    ended = observer.train(loop, planned)
    if ended.status != "interrupted":
        verify_frozen(accelerator.unwrap_model(loop.model), frozen)
        observer.save(loop)
    if accelerator.is_main_process:
        observer.finish(ended, wall_seconds=time.monotonic() - started)


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


def signal_of(spec: Mapping[str, Any], *, allow_code: bool = False) -> Signal:
    """Build the stopping signal of a recipe's ``stop`` block; its ``signal`` key names the member."""
    fields = dict(spec)
    signal: Signal = build("signal", {"name": fields.pop("signal", None), **fields}, SIGNALS, allow_code=allow_code)
    return signal


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return ``result.json`` of a run folder; None if the run has not ended yet."""
    path = folder / "result.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def read_records(folder: Path) -> list[Record]:
    """Return the records of a run folder, one a moment."""
    path = folder / "records.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [Record.from_json(json.loads(line)) for line in lines]


@dataclass
class Observer:
    """What a run does besides stepping: measures at moments, decides, saves, logs, and sums up."""

    recipe: Recipe
    folder: Path
    progress: Progress
    loaded: Loaded
    selected: Selected
    suites: tuple[Suite, ...]
    signal: Signal | None
    accelerator: Accelerator
    save_dtype: torch.dtype
    compute_dtype: torch.dtype
    last_step: int
    base_cache: Path | None
    identity: Mapping[str, str]
    history: list[Record] = field(default_factory=list)

    def restore(self, loop: Loop) -> None:
        """Go on from the newest checkpoint, with the logs cut back to it; without one, start with clean logs."""
        found = checkpoint.newest(self.folder, identity=self.identity)
        if found is not None:
            for words in found.skipped:
                self.progress.said(words)
            model = self.accelerator.unwrap_model(loop.model)
            loop.resume(checkpoint.restore(found, model=model, optimizer=loop.optimizer))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            if found is not None:
                checkpoint.trim_logs(found, self.folder)
            else:
                for log in run_folder.run_logs(self.folder):
                    log.unlink()
        self.accelerator.wait_for_everyone()
        self.history = read_records(self.folder)

    def train(self, loop: Loop, planned: Plan) -> Ended:
        """Run the loop, but for moments that are recorded already."""
        if self.history and _is_stop(self.history[-1].decision):
            return Ended("stopped", loop.step, loop.spent.to_json())
        return loop.run(
            moments=set(planned.moments) - {record.step for record in self.history},
            on_moment=self.measure,
            on_log=self.log,
            save=self.save,
        )

    def measure(self, moment: Moment) -> Decision | None:
        """Ask the suites, write samples and a record, and let the signal decide."""
        if not self.accelerator.is_main_process:
            return None
        whole = moment.step in (0, self.last_step)
        record = self._measured(moment, whole=whole)
        if _is_stop(record.decision) and not whole:
            # The last moment of a stopped run is asked in full, like that of any other.
            record = self._measured(moment, whole=True, decision=record.decision)
        self.history.append(record)
        _append(self.folder / "records.jsonl", record.to_json())
        self.progress.measured(record)
        if record.decision is not None and record.decision.keep:
            moment.save()
        return record.decision

    def _measured(self, moment: Moment, *, whole: bool, decision: Decision | None = None) -> Record:
        model = self.accelerator.unwrap_model(moment.model)
        estimates: dict[str, Estimate] = {}
        with exported(model, self.save_dtype):
            for suite in self.suites:
                result = evaluate_cached(
                    model,
                    self.loaded.tokenizer,
                    suite,
                    n=suite.size if whole else suite.size_during,
                    batch_size=self.recipe.per_device_eval_batch_size,
                    compute_dtype=self.compute_dtype,
                    cache=self.base_cache if moment.step == 0 else None,
                    model_fingerprint=f"{self.loaded.fingerprint} {self.save_dtype}",
                )
                write_samples(self.folder, suite.name, moment.step, result.samples)
                estimates.update(result.estimates)
        readings = {name: estimate.value for name, estimate in estimates.items()}
        record = Record(moment.step, dict(moment.spent), readings, estimates, decision)
        if self.signal is None or decision is not None:
            return record
        return Record(record.step, record.spent, readings, estimates, self.signal.decide([*self.history, record]))

    def log(self, metrics: Mapping[str, float]) -> None:
        """Write a line of metrics and tell trackers and whoever watches."""
        if not self.accelerator.is_main_process:
            return
        _append(self.folder / "metrics.jsonl", {k: v if math.isfinite(v) else None for k, v in metrics.items()})
        if self.recipe.report_to:
            self.accelerator.log(dict(metrics), step=int(metrics["step"]))
        self.progress.logged(metrics)

    def save(self, loop: Loop) -> None:
        """Write a checkpoint of the loop as it stands, and prune older ones."""
        if not self.accelerator.is_main_process:
            return
        checkpoint.write(
            self.folder,
            step=loop.step,
            model=self.accelerator.unwrap_model(loop.model),
            tokenizer=self.loaded.tokenizer,
            processor=self.loaded.processor,
            optimizer=loop.optimizer,
            trainable=self.selected.names,
            state=loop.state(),
            logs=run_folder.run_logs(self.folder),
            save_dtype=self.save_dtype,
            identity=self.identity,
            exposure=self.loaded.exposure,
        )
        if self.recipe.save_total_limit is not None:
            best = self._best_step()
            protected = {loop.step} | ({best} if best is not None else set())
            checkpoint.prune(self.folder, keep=self.recipe.save_total_limit, protected=protected)

    def finish(self, ended: Ended, *, wall_seconds: float) -> None:
        """Write ``result.json``, and for a run that ended the report and the model card."""
        meters_read = {
            "swallowed_update_fraction": self._swallowed(),
            "unchanged_after_export_fraction": self._unchanged(ended),
        }
        for meter, share in meters_read.items():
            caution = meters.warning(meter, share)
            if caution is not None:
                self.progress.said(f"warning: {caution}")
        result = {
            "status": ended.status,
            "steps": ended.step,
            "spent": dict(ended.spent),
            "best_step": self._best_step(),
            "wall_seconds": wall_seconds,
            "peak_memory_bytes": _peak_memory(),
            "recipe_hash": self.recipe.hash(),
            "code_version": __version__,
            "base_fingerprint": self.loaded.fingerprint,
            "identity": dict(self.identity),
            "frozen_verified": ended.status != "interrupted",
            "meters": meters_read,
        }
        write_json(self.folder / "result.json", result)
        if ended.status != "interrupted":
            (run,) = report.load_runs(self.folder)
            report.write([run], self.folder / "report.html")
            report.write_card(run)

    def _swallowed(self) -> float | None:
        path = self.folder / "metrics.jsonl"
        lines = map(json.loads, path.read_text(encoding="utf-8").splitlines()) if path.is_file() else ()
        return next((line["swallowed_update_fraction"] for line in lines if "swallowed_update_fraction" in line), None)

    def _unchanged(self, ended: Ended) -> float | None:
        saved = self.folder / f"checkpoint-{ended.step}"
        if ended.status == "interrupted" or not saved.is_dir():
            return None
        return meters.unchanged_after_export_fraction(self.loaded.folder, saved, names=self.selected.names)

    def _best_step(self) -> int | None:
        decisions = [record.decision for record in self.history if record.decision is not None]
        return decisions[-1].best_step if decisions else None


def _sft(
    recipe: Recipe, loaded: Loaded, rows: Source, selected: Selected, *, accelerator: Accelerator, allow_code: bool
) -> tuple[SFT, torch.nn.Module]:
    """Return the method, and the model as Accelerate wraps it for this machine."""
    objective = build("objective", recipe.objective, OBJECTIVES, allow_code=allow_code)
    if recipe.gradient_checkpointing:
        recompute_activations(loaded.model)
    batches = Batches(
        rows,
        seed=recipe.seed,
        per_device_train_batch_size=recipe.per_device_train_batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        pad_token_id=loaded.tokenizer.pad_token_id,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    spent_by = cost(loaded.model, selected.names)
    wrapped = accelerator.prepare_model(loaded.model)
    engine = Engine(loaded.model, objective, normalize=recipe.normalize, forward=wrapped)
    return SFT(engine, batches, spent_by, accelerator.device), wrapped


def _longest(*limits: int | None) -> int | None:
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def _identity(recipe: Recipe, loaded: Loaded, rows: Source) -> dict[str, str]:
    return {
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


def _is_stop(decision: Decision | None) -> bool:
    return decision is not None and decision.verdict is Verb.STOP


def _append(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row, allow_nan=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _peak_memory() -> int:
    """Return the largest resident memory of this process in bytes (macOS counts bytes, Linux kilobytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
