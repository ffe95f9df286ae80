"""What a run does besides stepping: it measures at moments, decides, saves, logs, and sums up."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator

from holdfast import __version__, report
from holdfast.evaluate.base_scores import evaluate_cached
from holdfast.evaluate.evaluate import SuiteResult
from holdfast.evaluate.samples import write_samples
from holdfast.evaluate.suite import Suite
from holdfast.models.compute import exported, exported_weights
from holdfast.models.durable import write_json
from holdfast.models.load import Loaded
from holdfast.models.ranks import ALONE, Ranks
from holdfast.plan import Plan
from holdfast.recipe import Recipe
from holdfast.records import Decision, Record, Verb
from holdfast.rollout.answerer import TRANSFORMERS, Answerer
from holdfast.run import costs
from holdfast.run.healing import HealedModel
from holdfast.run.peaks import peak_accelerator_memory, peak_memory
from holdfast.run.probing import Probed, Probing
from holdfast.selection import Selected
from holdfast.signals.base import Signal
from holdfast.statistics import Estimate
from holdfast.train import checkpoint, meters, run_folder
from holdfast.train.loop import Loop
from holdfast.train.moment import Ended, Moment
from holdfast.train.processes import unwrapped
from holdfast.train.progress import Progress
from holdfast.train.update_norm import UpdateNorm


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return ``result.json`` of a run folder; None if the run has not ended yet."""
    path = folder / "result.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def read_records(folder: Path) -> list[Record]:
    """Return the records of a run folder, one a moment."""
    path = folder / "records.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [Record.from_json(json.loads(line)) for line in lines]


class _Measured(NamedTuple):
    """A moment's record, what its probes found, and the seconds that each suite took."""

    record: Record
    probed: Probed
    seconds: dict[str, float]


@dataclass
class Observer:
    """What a run does besides stepping: measures at moments, decides, saves, logs, and sums up."""

    recipe: Recipe
    folder: Path
    progress: Progress
    loaded: Loaded
    selected: Selected
    changing: tuple[str, ...]
    suites: tuple[Suite, ...]
    signal: Signal | None
    distance: UpdateNorm | None
    probing: Probing
    accelerator: Accelerator
    save_dtype: torch.dtype
    compute_dtype: torch.dtype
    last_step: int
    base_cache: Path | None
    identity: Mapping[str, str]
    ranks: Ranks = ALONE
    answerer: Answerer = TRANSFORMERS
    healed: HealedModel | None = None
    history: list[Record] = field(default_factory=list)

    def restore(self, loop: Loop) -> None:
        """Go on from the newest checkpoint, with the logs cut back to it; without one, start with clean logs."""
        found = checkpoint.newest(self.folder, identity=self.identity, ranks=self.ranks)
        if found is not None:
            for words in found.skipped:
                self.progress.said(words)
            loop.resume(checkpoint.restore(found, model=self._model(loop), optimizer=loop.optimizer, ranks=self.ranks))
        rows = self.ranks.on_main(lambda: self._begin_logs(found))
        self.history = [Record.from_json(row) for row in rows]
        self.probing.restore()

    def _begin_logs(self, found: checkpoint.Checkpoint | None) -> list[Mapping[str, Any]]:
        if found is not None:
            checkpoint.trim_logs(found, self.folder)
        else:
            for log in run_folder.run_logs(self.folder):
                log.unlink()
        return [record.to_json() for record in read_records(self.folder)]

    def _model(self, of: Loop | Moment) -> Any:
        return unwrapped(of.model)

    def train(self, loop: Loop, planned: Plan) -> Ended:
        """Run the loop, but for moments that are recorded already."""
        if self.history and _is_stop(self.history[-1].decision):
            return loop.ended("stopped")
        return loop.run(
            moments=set(planned.moments) - {record.step for record in self.history},
            on_moment=self.measure,
            on_log=self.log,
            save=self.save,
        )

    def measure(self, moment: Moment) -> Decision | None:
        """Ask the suites, write samples and a record, and let the signal decide. Ranks share the questions."""
        whole = moment.step in (0, self.last_step)
        measured = self._measured(moment, whole=whole)
        if _is_stop(measured.record.decision) and not whole:
            # The last moment of a stopped run is asked in full, like that of any other; probes have been.
            measured = self._measured(moment, whole=True, before=measured)
        record = measured.record
        self.history.append(record)
        self.ranks.on_main(lambda: self._write(measured))
        self.progress.measured(record)
        if record.decision is not None and record.decision.keep:
            moment.save()
        return record.decision

    def _write(self, measured: _Measured) -> None:
        record = measured.record
        _append(self.folder / "records.jsonl", record.to_json())
        suites = {name: {"seconds": seconds} for name, seconds in measured.seconds.items()}
        _append(self.folder / costs.FILE, {"step": record.step, "suites": suites, "probes": measured.probed.costs})

    def _measured(self, moment: Moment, *, whole: bool, before: _Measured | None = None) -> _Measured:
        """Ask the suites and, unless that was done ``before``, the probes; and decide."""
        model = self._model(moment)
        seconds = {} if before is None else dict(before.seconds)
        estimates: dict[str, Estimate] = {}
        weights = exported_weights(model, self.changing, save_dtype=self.save_dtype)
        with self.ranks.together():
            try:
                distance = {} if self.distance is None else self.distance.read_weights(weights)
            finally:
                for _ in weights:  # whole tensors are made by all ranks, and measured by one
                    pass
        with exported(model, self.save_dtype):
            probed = self.probing.read(model, moment.step) if before is None else before.probed
            for suite in self.suites:
                if not (whole or suite.size_during):
                    continue
                started = time.perf_counter()
                result = evaluate_cached(
                    model,
                    self.loaded.speaker,
                    suite,
                    n=suite.size if whole else suite.size_during,
                    batch_size=self.recipe.per_device_eval_batch_size,
                    compute_dtype=self.compute_dtype,
                    cache=self.base_cache if moment.step == 0 else None,
                    model_fingerprint=f"{self.loaded.fingerprint} {self.save_dtype}",
                    ranks=self.ranks,
                    answerer=self.answerer,
                )
                seconds[suite.name] = seconds.get(suite.name, 0.0) + time.perf_counter() - started
                self._keep(moment.step, result)
                estimates.update(result.estimates)
        healed = {} if self.healed is None or moment.step else dict(self.healed.readings)
        readings = {name: estimate.value for name, estimate in estimates.items()} | distance | probed.readings | healed
        estimates |= probed.estimates
        decision = None if before is None else before.record.decision
        record = Record(moment.step, dict(moment.spent), readings, estimates, decision)
        # What the main rank measured and decided is the run's; the others only know of it.
        told = Record.from_json(self.ranks.on_main(lambda: self._decided(record).to_json()))
        return _Measured(told, probed, seconds)

    def _decided(self, record: Record) -> Record:
        if self.signal is None or record.decision is not None:
            return record
        decision = self.signal.decide([*self.history, record])
        return Record(record.step, record.spent, record.readings, record.estimates, decision)

    def _keep(self, step: int, result: SuiteResult) -> None:
        with self.ranks.together():
            if self.ranks.is_main:
                write_samples(self.folder, result.name, step, result.samples)

    def log(self, metrics: Mapping[str, float]) -> None:
        """Write a line of metrics and tell trackers and whoever watches."""
        if not self.ranks.is_main:
            return
        _append(self.folder / "metrics.jsonl", {k: v if math.isfinite(v) else None for k, v in metrics.items()})
        if self.recipe.report_to:
            self.accelerator.log(dict(metrics), step=int(metrics["step"]))
        self.progress.logged(metrics)

    def save(self, loop: Loop) -> None:
        """Write a checkpoint of the loop as it stands, and prune older ones."""
        checkpoint.write(
            self.folder,
            step=loop.step,
            model=self._model(loop),
            tokenizer=self.loaded.tokenizer,
            processor=self.loaded.processor,
            optimizer=loop.optimizer,
            trainable=self.selected.names,
            state=loop.state(),
            logs=run_folder.run_logs(self.folder) if self.ranks.is_main else (),
            save_dtype=self.save_dtype,
            identity=self.identity,
            exposure=self.loaded.exposure,
            base=self.recipe.model_name_or_path,
            ranks=self.ranks,
        )
        keep = self.recipe.save_total_limit
        with self.ranks.together():
            if keep is not None and self.ranks.is_main:
                best = self._best_step()
                protected = {loop.step} | ({best} if best is not None else set())
                checkpoint.prune(self.folder, keep=keep, protected=protected)

    def finish(self, ended: Ended, *, wall_seconds: float) -> None:
        """Write ``result.json``, and for a run that ended the report and the model card.

        ``wall_seconds`` and peaks are of this process alone; times of training and of moments are the whole run's.
        """
        meters_read = {
            "swallowed_update_fraction": self._swallowed(),
            "unchanged_after_export_fraction": self._unchanged(ended),
        }
        for meter, share in meters_read.items():
            caution = meters.warning(meter, share, masters=self.recipe.master_dtype)
            if caution is not None:
                self.progress.said(f"warning: {caution}")
        result = {
            "status": ended.status,
            "steps": ended.step,
            "spent": dict(ended.spent),
            "best_step": self._best_step(),
            "best_checkpoint": self._best_checkpoint(),
            "wall_seconds": wall_seconds,
            "train_seconds": ended.seconds.train,
            "measure_seconds": ended.seconds.measure,
            "heal_seconds": None if self.healed is None else self.healed.seconds,
            "tokens_per_second": ended.spent["tokens"] / ended.seconds.train if ended.seconds.train else None,
            "measuring": self.probing.measuring(),
            "peak_memory_bytes": peak_memory(),
            "peak_accelerator_bytes": peak_accelerator_memory(self.accelerator.device),
            "recipe_hash": self.recipe.hash(),
            "code_version": __version__,
            "base_fingerprint": self.loaded.fingerprint,
            "identity": dict(self.identity),
            "generate_with": self.answerer.name,
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
        return meters.unchanged_after_export_fraction(self.loaded.folder, saved, names=self.changing)

    def _best_step(self) -> int | None:
        decisions = [record.decision for record in self.history if record.decision is not None]
        return decisions[-1].best_step if decisions else None

    def _best_checkpoint(self) -> str | None:
        """Return the name of the folder that the signal's best step was saved in; None if there is none."""
        name = f"checkpoint-{self._best_step()}"
        return name if (self.folder / name).is_dir() else None


def _is_stop(decision: Decision | None) -> bool:
    return decision is not None and decision.verdict is Verb.STOP


def _append(path: Path, row: Mapping[str, Any]) -> None:
    costs.append(path, json.dumps(row, allow_nan=False))
