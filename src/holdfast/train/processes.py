"""The processes of one job, as `torchrun` or `accelerate launch` started them; usually there is just this one."""

from __future__ import annotations

import torch
from accelerate import Accelerator, PartialState


def processes() -> PartialState:
    """Return who we are among the job's processes; the first call joins them (gloo where there is no accelerator)."""
    return PartialState(cpu=not torch.accelerator.is_available())


def accelerator(*, log_with: list[str] | None = None, project_dir: str | None = None) -> Accelerator:
    """Return Accelerate's view of this process, on the device that `processes` chose."""
    return Accelerator(cpu=not torch.accelerator.is_available(), log_with=log_with, project_dir=project_dir)
