"""A model's own forward on shapes without data, to see what it computes: no memory, no accelerator, no weights read.

On fake tensors (`torch._subclasses.fake_tensor`) nothing has values. But how many patches an image has, and which of
them share a window, are integers that a vision model reads to decide what to compute. Inside `KnownIntegers`, on top of
a fake mode, tensors of integers and of booleans that come from known ones are computed; everything else is a shape.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from holdfast.errors import ModelError
from holdfast.models.compute import replaced_parameters
from holdfast.models.modes import evaluating


@contextmanager
def on_shapes(model: Any, trainable: Collection[str]) -> Iterator[dict[int, str]]:
    """Inside, the model runs on shapes without data, in eval mode; of its weights, ``trainable`` need gradients.

    Yields the storage of each weight (see `Products`) with its name.

    Raises:
        ModelError: a name is not a parameter, or what runs inside depends on data.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    unknown = sorted(set(trainable) - named.keys())
    if unknown:
        raise ModelError(f"{len(unknown)} names are not parameters of the model (first: {unknown[0]!r})")
    learning = {id(named[name]) for name in trainable}
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    weights: dict[int, str] = {}

    def without_data(name: str, parameter: Tensor) -> Tensor:
        with fake:
            dtype = torch.float32 if parameter.is_floating_point() else parameter.dtype
            empty = torch.empty(parameter.shape, dtype=dtype, device="cpu")
        shape = nn.Parameter(empty, requires_grad=id(parameter) in learning)
        weights[shape.untyped_storage()._cdata] = name
        return shape

    with evaluating(model), replaced_parameters(model, without_data), _fake_buffers(model, fake):
        try:
            with fake, torch.enable_grad():
                yield weights
        except (RuntimeError, NotImplementedError, TypeError) as fault:
            words = str(fault).splitlines()[0][:200] if str(fault) else type(fault).__name__
            raise ModelError(f"the FLOPs of {type(model).__name__} cannot be counted on shapes: {words}") from fault


class KnownIntegers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active inside of ``fake``, operations on known integers alone are computed.

    Args:
        fake: The mode that is active; it must allow inputs that are not fake.
    """

    def __init__(self, fake: FakeTensorMode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fake = fake

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(isinstance(one, FakeTensor) for one in inputs):
            if func._schema.is_mutable and not isinstance(inputs[0], FakeTensor):
                raise RuntimeError(f"{func} writes what is not known into known integers")
            return func(*args, **kwargs)
        if not inputs:
            made = func(*args, **kwargs)
            if not isinstance(made, Tensor) or made.is_floating_point():
                return made
        with unset_fake_temporarily():
            known = func(*args, **kwargs)
        return tree_map_only(Tensor, self.known, known)

    def known(self, tensor: Tensor) -> Tensor:
        """Return the tensor itself if it holds integers or booleans, else one of its shape without data."""
        return self._fake.from_tensor(tensor) if tensor.is_floating_point() else tensor


def lengthened(inputs: Mapping[str, Tensor], more: int) -> dict[str, Tensor]:
    """Return the inputs of a row with ``more`` tokens like its last one, which is text.

    Args:
        inputs: One row as `holdfast.data.batches.Batch.tensors` gives it, ``input_ids`` of shape (1, T) among them;
            what else has a shape (1, T, ...) goes along the tokens.
        more: At least 0.
    """
    shape = inputs["input_ids"].shape
    return {
        name: torch.cat([value, *[value[:, -1:]] * more], dim=1) if value.shape[:2] == shape else value
        for name, value in inputs.items()
    }


@contextmanager
def _fake_buffers(model: nn.Module, fake: FakeTensorMode) -> Iterator[None]:
    slots = []
    try:
        for module in model.modules():
            for key, buffer in list(module._buffers.items()):
                if buffer is not None:
                    slots.append((module, key, buffer))
                    with fake:
                        module._buffers[key] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu")
        yield
    finally:
        for module, key, buffer in slots:
            module._buffers[key] = buffer
