"""A tiny model with what its probes may ask about, as a run would hand it to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

import tiny_base
from holdfast.models.compute import set_masters
from holdfast.models.ranks import ALONE
from holdfast.plan import check, plan
from holdfast.probes.scene import Scene, Stage
from holdfast.run.methods import Maker, Start, load_for

OPTIONS: dict[str, dict[str, Any]] = {
    "kl": {"rows": 6},
    "validation": {"rows": 8},
    "gap": {"rows": 8},
    "entropy": {"rows": 8},
    "base_text": {"rows": 4, "longest": 6},
    "gradient_disparity": {"rows": 8},
    "label_wave": {"rows": 6},
    "rotation": {"matrices": 4},
    "interactions": {"prompts": 2, "players": 2, "repeats": 2},
    "interactions_cheap": {"prompts": 2, "players": 2},
}
"""Options that make a probe quick."""


class Kit(NamedTuple):
    """The model, moved away from its base, and what is asked about."""

    model: Any
    stage: Stage

    def scene(self, step: int = 1, past: tuple[Any, ...] = ()) -> Scene:
        return Scene(self.model, step, self.stage, past)


def recipe(folder: Path, **changes: Any) -> dict[str, Any]:
    """Values of a recipe on the tiny base, which is written if it is missing."""
    if not (folder / "base").is_dir():
        tiny_base.write(folder / "base")
    return {
        "model_name_or_path": str(folder / "base"),
        "data": {"environment": "general_points", "rule": "faces_as_10", "prompt_style": "terse", "size": 64},
        "evaluate_at": {"every": 1},
        "budget": {"steps": 3},
        "learning_rate": 3e-3,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        **changes,
    }


def kit(folder: Path, *, moved: float = 0.02, **changes: Any) -> Kit:
    """Load the tiny base in float32 and move its weights by noise of this size."""
    checked = check(recipe(folder, dtype="float32", compute_dtype="float32", **changes), source="test")
    planned = plan(checked)
    loaded = load_for(checked)
    set_masters(loaded.model, planned.selected.names)
    said: list[str] = []
    start = Start(checked, planned, folder, loaded, torch.float32, ALONE, said.append)
    before = {name: weight.detach().clone() for name, weight in loaded.model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in loaded.model.parameters():
            weight.add_(moved * torch.randn(weight.shape, generator=generator))
    loaded.model.eval()
    return Kit(loaded.model, Maker(start).stage(before.__getitem__))


def without_page(monkeypatch: Any) -> None:
    """Let runs of a test draw no page: drawing takes longer than they train."""
    monkeypatch.setattr("holdfast.report.write", lambda *_, **__: None)
