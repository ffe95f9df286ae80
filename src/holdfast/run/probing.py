"""The probes of a run: asked at every moment, paid for, kept in files, and left out where they would cost too much.

What probes keep of a moment lies in ``probes/<name>.jsonl``, a line a moment, and is cut back with the other logs when
a run goes on from a checkpoint; so is ``costs.jsonl``, from which the FLOPs that were spent before are known.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.errors import UserError
from holdfast.probes.base import Probe, Reading
from holdfast.probes.scene import Scene, Stage
from holdfast.records import Estimate, finite
from holdfast.run import costs

OF_WHOLE_WEIGHTS = {"gradients", "base_weights"}


class Probed(NamedTuple):
    """What the probes found at a moment.

    Attributes:
        readings: Of every probe, None where it was left out.
        estimates: Those of them that came with an interval.
        costs: By probe; see `holdfast.run.costs`.
    """

    readings: dict[str, float | None]
    estimates: dict[str, Estimate]
    costs: dict[str, dict[str, float]]


def refuse_sharded(probes: Mapping[str, Probe]) -> None:
    """Raise UserError if a probe needs whole weights, or gradients, which a sharded model has not."""
    odd = [name for name, probe in probes.items() if probe.needs & OF_WHOLE_WEIGHTS]
    if odd:
        raise UserError(f"probes.{odd[0]}: a sharded model (FSDP) has no whole weights to look at; leave it out")


@dataclass
class Probing:
    """Asks the probes of a run.

    Args:
        probes: By name.
        stage: Of the run.
        folder: The run folder.
        cap: FLOPs that they may spend in the whole run; None: any number.
        said: Hears which probe is left out, once.
    """

    probes: Mapping[str, Probe]
    stage: Stage
    folder: Path
    cap: float | None
    said: Callable[[str], None]
    spent: float = 0.0
    _past: dict[str, list[Any]] = field(default_factory=dict, repr=False)
    _left_out: set[str] = field(default_factory=set, repr=False)

    def restore(self) -> None:
        """Take up what the logs of the run folder hold, after they were cut back. Every rank calls it."""
        told = self.stage.ranks.on_main(
            lambda: (
                {name: [line["kept"] for line in costs.lines(self._file(name))] for name in self.probes}
                | {"": [costs.flops(self.folder)]}
            )
        )
        self.spent = told.pop("")[0]
        self._past = told

    def read(self, model: Any, step: int) -> Probed:
        """Return what all probes find; call it inside `holdfast.models.compute.exported`, on every rank."""
        readings: dict[str, float | None] = {}
        estimates: dict[str, Estimate] = {}
        paid: dict[str, dict[str, float]] = {}
        kept: dict[str, str] = {}
        # One scene's passes serve all probes; what is past, and what is kept, is each probe's own.
        scene = Scene(model, step, self.stage)
        for name, probe in self.probes.items():
            scene.past, scene.kept, scene.flops = tuple(self._past.get(name, ())), None, 0.0
            started = time.perf_counter()
            with self.stage.ranks.together():
                found, estimate = self._asked(name, probe, scene)
            told = {reading: found.get(reading) for reading in probe.readings}
            estimates |= {reading: value for reading, value in told.items() if isinstance(value, Estimate)}
            values = {name: value.value if isinstance(value, Estimate) else value for name, value in told.items()}
            readings |= {reading: finite(value) for reading, value in values.items()}
            if found:
                seconds = time.perf_counter() - started
                paid[name] = {"flops": scene.flops, "estimate": estimate, "seconds": seconds}
                self.spent += scene.flops
            if scene.kept is not None:
                self._past.setdefault(name, []).append(scene.kept)
                kept[name] = json.dumps({"step": step, "kept": scene.kept}, allow_nan=False)
        self.stage.ranks.on_main(lambda: self._write(kept))
        return Probed(readings, estimates, paid)

    def _asked(self, name: str, probe: Probe, scene: Scene) -> tuple[Mapping[str, Reading], float]:
        """Return what a probe found, nothing if it was left out, and the FLOPs that it was to cost."""
        if "base_weights" in probe.needs and self.stage.base_weight is None:
            return {}, 0.0  # the main rank keeps them, and its record counts
        estimate = float(probe.cost(scene))
        if self.cap is not None and self.spent + estimate > self.cap:
            self._leave_out(name, scene.step, estimate)
            return {}, estimate
        return probe.measure(scene), estimate

    def measuring(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return what measuring cost in the whole run, and what each probe wrote (``result.json``)."""
        total: dict[str, dict[str, dict[str, Any]]] = {**costs.summed(self.folder)}
        for name, probe in self.probes.items():
            total["probes"][name] = {**total["probes"].get(name, {"times": 0}), "readings": list(probe.readings)}
        return total

    def _write(self, kept: Mapping[str, str]) -> None:
        for name, line in kept.items():
            costs.append(self._file(name), line)

    def _leave_out(self, name: str, step: int, estimate: float) -> None:
        if name not in self._left_out:
            self._left_out.add(name)
            self.said(
                f"probe {name} is left out from step {step} on: it would cost {estimate:.3g} FLOPs, of the "
                f"{self.cap:.3g} that probe_budget allows {self.spent:.3g} are spent"
            )

    def _file(self, name: str) -> Path:
        return self.folder / "probes" / f"{name.replace(':', '.')}.jsonl"
