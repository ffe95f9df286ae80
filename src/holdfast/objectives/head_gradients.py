"""The gradients of an output head's input and parameters, collected over chunks.

Shapes: ``N`` all rows with a target, ``R`` rows of one chunk, ``H`` hidden width, ``V`` vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from holdfast.objectives.head import OutputHead
from holdfast.objectives.softmax import statistics_dtype


class HeadGradients:
    """Collects the gradients of the head's input and of its parameters over chunks."""

    def __init__(self, head: OutputHead, hidden_NH: Tensor, params: tuple[Tensor, ...], *, wanted: tuple[bool, ...]):
        self.head = head
        self.any = any(wanted)
        self.hidden_NH = torch.zeros_like(hidden_NH) if wanted[0] else None
        self.params = params
        # Chunks add up in float32 even where the head is half precision.
        self.sums = [
            torch.zeros_like(p, dtype=statistics_dtype(p)) if w else None
            for p, w in zip(params, wanted[1:], strict=True)
        ]
        self.traced = self.any and not head.is_linear
        self.leaf_RH: Tensor | None = None

    @property
    def compacts(self) -> bool:
        """Whether `add` takes some rows of a chunk without the others."""
        return not self.traced

    def all(self) -> tuple[Tensor | None, ...]:
        sums = (s if s is None else s.to(p.dtype) for s, p in zip(self.sums, self.params, strict=True))
        return self.hidden_NH, *sums

    def head_output(self, hidden_RH: Tensor) -> Tensor:
        """Run the head on one chunk, traced by autograd unless its gradients are written down here."""
        if not self.traced:
            with torch.no_grad():
                return self.head.module(hidden_RH)  # type: ignore[no-any-return]
        with torch.enable_grad():
            self.leaf_RH = hidden_RH.detach().requires_grad_(self.hidden_NH is not None)
            return self.head.module(self.leaf_RH)  # type: ignore[no-any-return]

    def add(self, at: slice | Tensor, hidden_RH: Tensor, z_RV: Tensor, d_z_RV: Tensor) -> None:
        """Add the gradient of rows.

        Args:
            at: Which of the N rows: those of one chunk, or some of them where this object `compacts`.
            hidden_RH: The head's input at these rows.
            z_RV: The very z that `head_output` gave for the whole chunk.
            d_z_RV: d loss / d z at these rows.
        """
        d_z_RV = d_z_RV.to(z_RV.dtype)
        if self.traced:
            self._add_traced(at, z_RV, d_z_RV)
        else:
            self._add_linear(at, hidden_RH, d_z_RV)

    def _add_traced(self, at: slice | Tensor, z_RV: Tensor, d_z_RV: Tensor) -> None:
        assert self.leaf_RH is not None
        inputs = [p for p, total in zip(self.params, self.sums, strict=True) if total is not None]
        if self.hidden_NH is not None:
            inputs.append(self.leaf_RH)
        found = list(torch.autograd.grad(z_RV, inputs, d_z_RV, allow_unused=True))
        if self.hidden_NH is not None:
            self.hidden_NH[at] = found.pop()
        totals = [total for total in self.sums if total is not None]
        for total, part in zip(totals, found, strict=True):
            if part is not None:
                total += part

    def _add_linear(self, at: slice | Tensor, hidden_RH: Tensor, d_z_RV: Tensor) -> None:
        linear = self.head.module
        assert isinstance(linear, nn.Linear)
        # The products run in the dtype the head ran in (bf16 under autocast); autocast must not choose again.
        with torch.autocast(d_z_RV.device.type, enabled=False):
            if self.hidden_NH is not None:
                self.hidden_NH[at] = d_z_RV @ linear.weight.to(d_z_RV.dtype)
            for param, total in zip(self.params, self.sums, strict=True):
                if total is None:
                    continue
                if param is linear.bias:
                    total += d_z_RV.sum(0)
                elif total.dtype == d_z_RV.dtype:
                    total.addmm_(d_z_RV.T, hidden_RH.to(d_z_RV.dtype))
                else:
                    total += d_z_RV.T @ hidden_RH.to(d_z_RV.dtype)
