"""The output head of a causal language model, taken apart from its trunk without naming any architecture.

The model's own forward runs whole, so adapters, images, position ids, router losses and sharding wrappers all work; but
its output head is handed zero rows, and the hidden states that it would have multiplied are kept. The rows that carry a
target meet the head afterwards, a chunk at a time (`holdfast.objectives.chunks`).

What the forward does to the head's output (a soft cap, a scale) has to be repeated on each chunk. It is read from the
config and *proved* on the first forward: the head's output is replaced by a ramp, and what the model makes of the ramp
must be what we make of it. Otherwise the model is refused by name rather than trained on wrong probabilities.

Shapes: ``B`` rows of a batch, ``T`` tokens, ``H`` hidden width, ``R`` rows of one chunk, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from holdfast.errors import ModelError

SOFTCAP_KEYS = ("final_logit_softcapping", "output_logit_soft_cap")
"""Config keys that hold a soft cap of the logits (Gemma, nanochat; xLSTM)."""

SCALE_KEYS = ("logit_scale", "logits_scaling", "lm_head_multiplier")
"""Config keys that hold a factor of the logits (Cohere; Granite, which divides by it; Falcon-H1)."""

RAMP_REACH = 60.0
"""The proof covers logits from -60 to 60."""


@dataclass(frozen=True)
class LogitTransform:
    """What a model's forward does to its head's output: ``logits = cap · tanh(scale · z / cap) / temperature``.

    Attributes:
        scale: Factor of the head's output.
        softcap: The bound ``cap``; None for ``logits = scale · z / temperature``.
        temperature: At which answers are drawn; not of the model's own doing.
    """

    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0

    def apply(self, z_RV: Tensor) -> Tensor:
        """Return the logits in float32 (float64 stays), shape as ``z_RV``; ``z_RV`` is left as it was."""
        logits_RV = z_RV.to(torch.promote_types(z_RV.dtype, torch.float32))
        if self.scale != 1.0:
            logits_RV = logits_RV * self.scale
        if self.softcap is not None:
            logits_RV = torch.tanh(logits_RV / self.softcap) * self.softcap
        return logits_RV if self.temperature == 1.0 else logits_RV / self.temperature

    def pull_back_(self, gradient_RV: Tensor, logits_RV: Tensor) -> Tensor:
        """Turn d loss / d logits into d loss / d z, in place, and return it."""
        if self.softcap is not None:
            gradient_RV.mul_(1 - (logits_RV * (self.temperature / self.softcap)).square())
        factor = self.scale / self.temperature
        return gradient_RV.mul_(factor) if factor != 1.0 else gradient_RV


class TrunkOutput(NamedTuple):
    """What the model's forward gave: the head's input, shape (B, T, H), and all else that it returned."""

    hidden_BTH: Tensor
    outputs: Mapping[str, Any]


class _Proved(NamedTuple):
    transform: LogitTransform
    vocabulary: int


class OutputHead:
    """The last linear map of ``model``: any module (tied, biased, frozen, adapter-wrapped) that its forward calls once.

    Args:
        model: A causal language model with ``get_output_embeddings``; not wrapped for data parallelism.
        temperature: Of the probabilities: logits are divided by it.

    Raises:
        ModelError: the model has no output head, or is an encoder-decoder.
    """

    def __init__(self, model: nn.Module, *, temperature: float = 1.0) -> None:
        self.temperature = temperature
        self.name = type(model).__name__
        module = model.get_output_embeddings()  # type: ignore[operator]
        if module is None:
            raise ModelError(f"{self.name} has no output head (get_output_embeddings() is None): not a language model")
        config = model.config.get_text_config().to_dict()  # type: ignore[union-attr, operator]
        if config.get("is_encoder_decoder"):
            raise ModelError(f"{self.name} is an encoder-decoder; holdfast trains decoder-only language models")
        self.module: nn.Module = module
        self._candidates = _candidates(config)
        self._proved: _Proved | None = None

    @property
    def transform(self) -> LogitTransform:
        """The proved map from the head's output to the logits; known after the first `trunk`."""
        return replace(self._proof().transform, temperature=self.temperature)

    @property
    def vocabulary(self) -> int:
        """The number of logits of a row; known after the first `trunk`."""
        return self._proof().vocabulary

    @property
    def is_linear(self) -> bool:
        """Whether the head is a plain ``nn.Linear``, whose gradients are written down rather than traced."""
        return type(self.module) is nn.Linear

    def _proof(self) -> _Proved:
        assert self._proved is not None, "trunk() must have run before the head is used"
        return self._proved

    def parameters(self) -> tuple[nn.Parameter, ...]:
        """Return the head's trainable parameters. Asked anew each time: sharding swaps them between uses."""
        return tuple(p for p in self.module.parameters() if p.requires_grad)

    def trunk(self, forward: Callable[..., Any], inputs: Mapping[str, Any]) -> TrunkOutput:
        """Run ``forward(**inputs)`` with the head left out.

        Args:
            forward: The model, or a data-parallel wrapper around it.
            inputs: Its keyword arguments, without labels.

        Raises:
            ModelError: the forward does not call the head exactly once on (B, T, H), or changes its output in a way
                that is not known.
        """
        if isinstance(forward, FSDPModule):
            # The head is used after the root's forward has ended: its weights must stay gathered until backward.
            forward.set_reshard_after_forward(False, recurse=False)
        seen: list[Tensor] = []
        proof = _Ramp() if self._proved is None else None

        def keep_input(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            seen.append(args[0])
            return (args[0][..., : 0 if proof is None else 1, :], *args[1:])

        handles = [self.module.register_forward_pre_hook(keep_input)]
        if proof is not None:
            handles.append(self.module.register_forward_hook(lambda _m, _a, z: proof.replace(z)))
        try:
            outputs = forward(**inputs)
        finally:
            for handle in handles:
                handle.remove()
        if len(seen) != 1 or seen[0].dim() != 3:
            raise ModelError(
                f"{self.name}: its forward must call the output head ({type(self.module).__name__}) once, on hidden "
                f"states (batch, tokens, width); it called it {len(seen)} times, on {[tuple(s.shape) for s in seen]}"
            )
        if proof is not None:
            transform = proof.explain(outputs["logits"], self._candidates, self.name)
            self._proved = _Proved(transform, outputs["logits"].shape[-1])
        return TrunkOutput(seen[0], outputs)


class _Ramp:
    """Stands in for the head's output once, to see what the model's forward makes of known logits."""

    def __init__(self) -> None:
        self.z_B1V: Tensor | None = None

    def replace(self, z_B1V: Tensor) -> Tensor:
        ramp_V = torch.linspace(-RAMP_REACH, RAMP_REACH, z_B1V.shape[-1], device=z_B1V.device).to(z_B1V.dtype)
        self.z_B1V = ramp_V.expand_as(z_B1V).clone()
        # The empty sum keeps the graph: a wrapper's backward hooks hang on what its forward returns.
        return self.z_B1V + z_B1V[..., :0].sum()

    def explain(self, logits_B1V: Tensor, candidates: tuple[LogitTransform, ...], name: str) -> LogitTransform:
        assert self.z_B1V is not None
        found = logits_B1V.detach().double()
        tolerance = 4 * torch.finfo(self.z_B1V.dtype).eps
        for transform in candidates:
            expected = transform.apply(self.z_B1V.double())
            if found.shape == expected.shape and torch.allclose(found, expected, rtol=tolerance, atol=tolerance):
                return transform
        example = f"a head output of {self.z_B1V[0, 0, -1]:.4g} became the logit {found.reshape(-1)[-1]:.4g}"
        raise ModelError(
            f"{name}: its forward changes the output head's result in a way holdfast does not know ({example}; tried "
            f"{', '.join(map(str, candidates))}). Training on it would use wrong probabilities, so it is refused."
        )


def _candidates(config: Mapping[str, Any]) -> tuple[LogitTransform, ...]:
    """Return the maps that the config speaks of, the plain one last."""
    scales = [float(config[key]) for key in SCALE_KEYS if config.get(key)]
    capped = [LogitTransform(softcap=float(config[key])) for key in SOFTCAP_KEYS if config.get(key)]
    factors = [LogitTransform(scale=f) for s in scales for f in (s, 1 / s)]
    return (*capped, *factors, LogitTransform())
