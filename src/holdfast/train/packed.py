"""Small tensors as JSON, exactly: for the cursor of a method that keeps some between steps."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def packed(values: Tensor) -> dict[str, Any]:
    """Return a float32 tensor as compressed text with its shape."""
    raw = zlib.compress(values.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
    return {"shape": list(values.shape), "float32": base64.b64encode(raw).decode()}


def unpacked(stored: Mapping[str, Any]) -> Tensor:
    """Inverse of `packed`."""
    values = np.frombuffer(zlib.decompress(base64.b64decode(stored["float32"])), dtype="<f4")
    return torch.from_numpy(values.astype(np.float32)).reshape(stored["shape"])
