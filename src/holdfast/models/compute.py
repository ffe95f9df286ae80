"""The compute context: float32 masters for what learns, the storage dtype for the rest, and one way to run both.

Masters are float32 unless a recipe asks for none (``master_dtype: stored``), as papers that train in pure bfloat16 do.

A model is called only inside `compute`, for training, evaluation and diagnosis alike. A moment reads the weights
inside `exported`, as a user would get them from the saved checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import transformers
from packaging.version import Version
from torch import Tensor, nn

from holdfast.errors import ModelError, UnknownName, did_you_mean
from holdfast.models import rng
from holdfast.models.adapters import adapters, merged, merged_weight
from holdfast.models.sharding import gathered, is_sharded, whole

MASTER_DTYPE = torch.float32
"""An optimizer step smaller than the spacing of the weights' dtype is lost; float32 loses none that matter."""

Masters = Literal["float32", "stored"]
"""What learns is kept in float32, or in the dtype in which it was loaded: no masters at all."""

STORED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""The dtypes that hold plain weights. Others (integers, fp8) are packed values that a cast would destroy."""


def dtype_named(name: str | torch.dtype) -> torch.dtype:
    """Return the torch dtype of a recipe's word: ``float32``, ``bfloat16``, ``float16``, ``float64``.

    Raises:
        UnknownName: the word is none of these.
    """
    if isinstance(name, torch.dtype):
        return name
    known = {str(dtype).removeprefix("torch."): dtype for dtype in STORED}
    if name not in known:
        raise UnknownName("dtype", name, known)
    return known[name]


def set_masters(model: nn.Module, trainable_names: Collection[str], *, masters: Masters = "float32") -> None:
    """Make exactly ``trainable_names`` learn, in float32, and freeze the rest in the dtype it has.

    Args:
        model: Changed in place; parameter objects stay the same ones.
        trainable_names: Names of ``model.named_parameters()``; of tied weights any alias will do.
        masters: ``stored`` leaves what learns in the dtype it has, gradients and optimizer states with it. In bfloat16
            most small updates are then rounded away: it is for repeating what was trained so, not for training.

    Raises:
        ModelError: a name is not a parameter of the model, or its dtype cannot be trained (float16 not without float32
            masters: Adam's second moments vanish in it).
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    wanted: set[int] = set()
    for name in trainable_names:
        if name not in named:
            raise ModelError(f"no such parameter: {name!r}. {did_you_mean(name, named)[:300]}")
        if named[name].dtype not in STORED:
            raise ModelError(f"parameter {name!r} is stored as {named[name].dtype}, which cannot be trained")
        if masters == "stored" and named[name].dtype is torch.float16:
            raise ModelError(f"{name!r} is float16, in which Adam's second moments vanish: write master_dtype: float32")
        wanted.add(id(named[name]))
    for parameter in model.parameters():
        learns = id(parameter) in wanted
        parameter.requires_grad_(learns)
        if learns and masters == "float32" and parameter.dtype in (torch.float16, torch.bfloat16):
            parameter.data = parameter.data.to(MASTER_DTYPE)


def parameter_dtypes(model: nn.Module) -> set[torch.dtype]:
    """Return the dtypes of the model's plain (floating) weights."""
    return {parameter.dtype for parameter in model.parameters() if parameter.dtype in STORED}


def recompute_activations(model: Any) -> None:
    """Trade time for memory: keep no activations, compute them again in backward (gradient checkpointing)."""
    # Renamed in Transformers; the old name warns where the new one exists.
    if Version(transformers.__version__) >= Version("5.23"):
        model.activation_checkpointing_enable()
    else:
        model.gradient_checkpointing_enable()


@contextmanager
def compute(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Run forward, backward and ``generate`` in ``dtype``, whatever the dtypes of the parameters.

    All parameters already ``dtype``: nothing is done. Otherwise parameters of another dtype are replaced by their casts
    inside; gradients reach the originals. This is what FSDP calls mixed precision, and not autocast, which keeps the
    residual stream in float32 and casts before every product: here the forward pass of training is that of the
    exported model, bit for bit.

    Enter it anew after each optimizer step, and call ``backward`` inside: the casts are made when it is entered.
    A sharded model makes the same casts itself (`holdfast.models.sharding.shard`), so nothing is done here.
    """
    if is_sharded(model) or parameter_dtypes(model) <= {dtype}:
        yield
        return
    # A cast that carries gradients, so that whatever learns still receives its own.
    with replaced_parameters(model, lambda name, p: p.to(export_dtype(model, name, p, save_dtype=dtype))):
        yield


def export_dtype(model: nn.Module, name: str, stored: Tensor, *, save_dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which a parameter is exported: ``save_dtype``, but for packed and must-be-float32 weights.

    Transformers lists weights that its models compute in float32 even when the rest is half precision (a router's
    bias correction, for example); they are exported, and come back, in float32.
    """
    if stored.dtype not in STORED:
        return stored.dtype
    if save_dtype in (torch.float16, torch.bfloat16):
        patterns = _always_float32(model)
        if patterns is not None and patterns.search(name):
            return torch.float32
    return save_dtype


@contextmanager
def exported(model: nn.Module, save_dtype: torch.dtype) -> Iterator[None]:
    """Inside, the model is what a user would load from the export: every weight has its exported value and dtype.

    The live parameters are set aside, not changed: optimizers, gradients and data-parallel hooks notice nothing, and
    tied weights stay tied. The model is in eval mode and plain ``generate`` works. Afterwards, also after an
    exception, everything is as before bit for bit: parameters, train or eval mode of each module, ``use_cache``,
    gradient checkpointing flags, and the global random state.

    Adapters (`holdfast.models.adapters`) are merged inside: modules and names are the plain model's.

    Of a sharded model every rank must enter, and has the whole of it inside, computing in the dtype it trains in.
    """
    if is_sharded(model):
        dtypes = {name: export_dtype(model, name, p, save_dtype=save_dtype) for name, p in model.named_parameters()}
        moved = {name: dtypes[name] for name, p in model.named_parameters() if p.dtype != dtypes[name]}
        with rng.preserved(), _preserved_flags(model), gathered(model, moved):
            model.eval()
            yield
        return

    def as_exported(name: str, parameter: Tensor) -> Tensor:
        dtype = export_dtype(model, name, parameter, save_dtype=save_dtype)
        if dtype == parameter.dtype:
            return parameter
        return nn.Parameter(parameter.detach().to(dtype), requires_grad=parameter.requires_grad)

    def dtype_of(name: str, parameter: Tensor) -> torch.dtype:
        return export_dtype(model, name, parameter, save_dtype=save_dtype)

    with rng.preserved(), _preserved_flags(model), merged(model, dtype_of), replaced_parameters(model, as_exported):
        model.eval()
        yield


def exported_weights(
    model: nn.Module, names: Collection[str], *, save_dtype: torch.dtype
) -> Iterator[tuple[str, Tensor]]:
    """Yield weights as their export holds them, one whole tensor in memory at a time.

    Args:
        model: Of a sharded one every rank must take every weight.
        names: Of ``model.named_parameters()``; of a model with adapters, as the plain model has them.
        save_dtype: See `export_dtype`.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    adapted = {adapter.weight_name: adapter for adapter in adapters(model)}
    for adapter in adapted.values():
        named |= {f"{adapter.path}.{key}": p for key, p in adapter.layer.base_layer.named_parameters()}
    for name in names:
        now = merged_weight(adapted[name]) if name in adapted else whole(named[name])
        yield name, now.to(export_dtype(model, name, named[name], save_dtype=save_dtype))


@contextmanager
def replaced_parameters(model: nn.Module, replace: Callable[[str, Tensor], Tensor]) -> Iterator[None]:
    """Inside, ``replace(name, parameter)`` stands in the place of each parameter; the live ones are set aside.

    Args:
        model: Its parameter objects are put back afterwards, also after an exception.
        replace: Called once for all aliases of a tied weight. It may return the parameter itself, which then stays.
    """
    slots: list[tuple[nn.Module, str, nn.Parameter]] = []
    replacements: dict[int, Tensor] = {}
    try:
        for path, module in model.named_modules():
            for key, parameter in list(module._parameters.items()):
                if parameter is None:
                    continue
                if id(parameter) not in replacements:
                    replacements[id(parameter)] = replace(f"{path}.{key}" if path else key, parameter)
                if replacements[id(parameter)] is not parameter:
                    slots.append((module, key, parameter))
                    # Through the dictionary, as torch.func.functional_call does: a cast that carries gradients is
                    # not a leaf, and assigning it as an attribute would be refused.
                    module._parameters[key] = replacements[id(parameter)]
        yield
    finally:
        for module, key, parameter in slots:
            module._parameters[key] = parameter


@contextmanager
def _preserved_flags(model: nn.Module) -> Iterator[None]:
    flags: list[tuple[Any, str, Any]] = []
    for module in model.modules():
        own = vars(module)
        flags += [(module, key, own[key]) for key in ("training", "gradient_checkpointing") if key in own]
        for owner in (own.get("config"), own.get("generation_config")):
            if owner is not None and "use_cache" in vars(owner):
                flags.append((owner, "use_cache", vars(owner)["use_cache"]))
    try:
        yield
    finally:
        for owner, key, value in flags:
            setattr(owner, key, value)


def _always_float32(model: nn.Module) -> re.Pattern[str] | None:
    """Join the patterns that Transformers collects on its models, as its own loader does; None if there are none."""
    patterns = vars(model).get("_keep_in_fp32_modules_strict") or ()
    if not patterns:
        return None
    return re.compile("|".join(f"(?:{pattern.replace('*', '.*')})" for pattern in sorted(patterns)))
