"""The most memory that this process took."""

from __future__ import annotations

import resource
import sys

import torch


def peak_memory() -> int:
    """Return the largest resident memory of this process in bytes (macOS counts bytes, Linux kilobytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_accelerator_memory(device: torch.device) -> int | None:
    """Return the most bytes of an accelerator that tensors of this process took; None without one."""
    return None if device.type in ("cpu", "mps") else torch.accelerator.max_memory_allocated(device)
