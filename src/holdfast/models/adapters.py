"""Low-rank adapters (LoRA): beside a frozen linear weight W learns ΔW = alpha / r · B·A; W + ΔW is what is exported.

PEFT's layers compute them in training. Everything else sees the merged weights under the plain model's names
(`merged`, `merged_weight`): what is measured, saved and compared with the base is an ordinary model. In training the
product of the adapter is added to that of W, which differs from the merged model's by rounding.

Reference: Hu et al. 2022, https://arxiv.org/abs/2106.09685. Where we differ: A is drawn from a generator of its own, as
Kaiming-uniform as PEFT's, so that it depends on the recipe's seed and on nothing that ran before.

Shapes: ``O`` outputs, ``I`` inputs, ``R`` rank: W is (O, I), in GPT-2's Conv1D (I, O); A is (R, I), B is (O, R).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from holdfast.errors import ModelError, UserError
from holdfast.models import peft_extra, rng
from holdfast.models.durable import write_json
from holdfast.models.roles import ParameterRole, Role
from holdfast.models.safetensors_file import TensorSpec, write_file
from holdfast.recipe import Lora

NAME = "holdfast"
"""Under which PEFT keeps our adapters: those of a user's own, in a model that a callback measures, are not ours."""
LINEAR = (nn.Linear, Conv1D)
"""Layers that are adapted, and no subclasses of them: theirs may compute something else than the product."""
LEFT = frozenset({Role.EMBEDDING, Role.HEAD, Role.NORM})
"""Roles that are never adapted, linear layers or not."""


class Adapter(NamedTuple):
    """One adapted layer: the path of the layer in the plain model, and PEFT's module in its place."""

    path: str
    layer: Any

    @property
    def weight_name(self) -> str:
        """Name of W in the plain model."""
        return f"{self.path}.weight"


class Change(NamedTuple):
    """The parameters of ΔW = scale · B·A, of its transpose in a Conv1D.

    Taken outside of `holdfast.models.compute.compute`, inside of which casts stand in their place.
    """

    b_OR: nn.Parameter
    a_RI: nn.Parameter
    scale: float
    transposed: bool

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return two matrices whose product is ΔW as W lies, with graph."""
        scaled_OR = self.scale * self.b_OR
        return (self.a_RI.mT, scaled_OR.mT) if self.transposed else (scaled_OR, self.a_RI)


def adapters(model: nn.Module) -> tuple[Adapter, ...]:
    """Return the adapters that `adapt` put into a model, in model order; none of a plain model."""
    found = []
    for path, module in model.named_modules():
        kept = module._modules.get("lora_A")
        if isinstance(kept, nn.ModuleDict) and NAME in kept:
            found.append(Adapter(path, module))
    return tuple(found)


def linear_weights(model: nn.Module, parameters: Iterable[ParameterRole]) -> tuple[str, ...]:
    """Return which of these parameters of a plain model can be adapted.

    They are weights of linear layers that are no embedding, norm or output head; a weight that two layers share is not.
    """
    return tuple(
        p.name
        for p in parameters
        if p.role not in LEFT
        and not p.tied
        and p.name.endswith(".weight")
        and type(model.get_submodule(p.name.removesuffix(".weight"))) in LINEAR
    )


def adapt(model: nn.Module, weights: Collection[str], *, lora: Lora, seed: int) -> tuple[str, ...]:
    """Put an adapter beside each weight, in place; return the names of the tensors that are to learn.

    B is 0, so the model computes what it did. The global random state is not touched.

    Args:
        model: A plain model, on any device; on ``meta`` the adapters have shapes only.
        weights: From `linear_weights`.
        lora: Rank, scale and dropout.
        seed: Of A.

    Raises:
        UserError: PEFT is not installed.
        ModelError: PEFT refuses a layer, or a weight is packed (quantized).
    """
    needed = peft_extra.missing()
    if needed is not None:
        raise UserError(needed)
    import peft

    wanted = {name.removesuffix(".weight") for name in weights}
    modules = dict(model.named_modules())
    packed = sorted(path for path in wanted if not modules[path].get_parameter("weight").is_floating_point())
    if packed:
        raise ModelError(f"lora: {packed[0]}.weight is packed; load the model unquantized")
    turned = [type(modules[path]) is Conv1D for path in sorted(wanted)]
    if len(set(turned)) > 1:
        raise ModelError("lora: the selection has layers of both kinds, Linear and Conv1D; select one kind by include")
    config = peft.LoraConfig(
        r=lora.r,
        lora_alpha=int(lora.alpha) if lora.alpha.is_integer() else lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=target_modules(modules, wanted),
        fan_in_fan_out=turned[0],
        task_type="CAUSAL_LM",
    )
    try:
        with rng.preserved(), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of a configuration that PEFT rewrote, see below
            peft.inject_adapter_in_model(config, model, adapter_name=NAME, low_cpu_mem_usage=True)
    except ValueError as fault:
        raise ModelError(f"lora: PEFT does not adapt this selection: {fault}") from fault
    made = adapters(model)
    other = sorted({adapter.path for adapter in made} ^ wanted)
    if other:
        # In some mixtures of experts PEFT reads the names of dense MLPs as those of the experts' fused tensors.
        raise ModelError(f"lora: PEFT adapts other layers than were selected ({other[0]}); select attention")
    for adapter in made:
        _begin(adapter, seed)
    ours = {id(p) for adapter in made for part in _matrices(adapter) for p in part.parameters()}
    return tuple(name for name, parameter in model.named_parameters() if id(parameter) in ours)


def target_modules(modules: Iterable[str], wanted: Collection[str]) -> str | list[str]:
    """Return how PEFT's configuration names exactly these modules: last names, whole paths, or a regular expression.

    PEFT takes a name for every module whose path ends with it, so the shortest form that means no other one is chosen:
    it is what other programs read most widely.
    """
    paths = list(modules)

    def meant(names: Collection[str]) -> set[str]:
        return {path for path in paths if any(path == name or path.endswith(f".{name}") for name in names)}

    last = sorted({path.rpartition(".")[2] for path in wanted})
    if meant(last) == set(wanted):
        return last
    if meant(wanted) == set(wanted):
        return sorted(wanted)
    return "|".join(re.escape(path) for path in sorted(wanted))


def merged_weight(adapter: Adapter) -> Tensor:
    """Return W + ΔW in float32 (float64 of a float64 model), without graph; where ΔW is 0 it is W bit for bit."""
    base = adapter.layer.base_layer
    weight = base.weight.detach()
    wide = torch.promote_types(weight.dtype, torch.float32)
    a_RI, b_OR = (part.weight.detach().to(wide) for part in _matrices(adapter))
    change = adapter.layer.scaling[NAME] * (b_OR @ a_RI)
    if type(base) is Conv1D:
        change = change.T
    # -0.0 + 0.0 would be 0.0.
    return torch.where(change == 0, weight.to(wide), weight.to(wide) + change).contiguous()


def change_of(adapter: Adapter) -> Change:
    """Return what an adapter learns."""
    a, b = _matrices(adapter)
    return Change(b.weight, a.weight, adapter.layer.scaling[NAME], type(adapter.layer.base_layer) is Conv1D)


@contextmanager
def merged(model: nn.Module, dtype_of: Callable[[str, Tensor], torch.dtype]) -> Iterator[None]:
    """Inside, each adapted layer is a plain linear layer again that holds W + ΔW; a plain model is left alone.

    Args:
        model: Its modules and parameters are put back afterwards, also after an exception.
        dtype_of: From the plain name of a weight and the weight to the dtype in which the sum is kept.
    """
    slots: list[tuple[nn.Module, str, nn.Module, nn.Parameter]] = []
    try:
        for adapter in adapters(model):
            above, _, key = adapter.path.rpartition(".")
            parent, base = model.get_submodule(above), adapter.layer.base_layer
            sum_ = merged_weight(adapter).to(dtype_of(adapter.weight_name, base.weight))
            slots.append((parent, key, adapter.layer, base.weight))
            base._parameters["weight"] = nn.Parameter(sum_, requires_grad=False)
            parent._modules[key] = base
        yield
    finally:
        for parent, key, layer, weight in slots:
            layer.base_layer._parameters["weight"] = weight  # type: ignore[union-attr]
            parent._modules[key] = layer


def write_adapters(folder: Path, model: Any, *, base: str | None) -> None:
    """Write a model's adapters as PEFT reads them (``PeftModel.from_pretrained(base, folder)``).

    Args:
        folder: Is made.
        model: With adapters.
        base: Name of the plain model, for the configuration; None leaves it out.
    """
    folder.mkdir()
    tensors = {
        peft_name(adapter.path, kind): part.weight.detach().cpu().contiguous()
        for adapter in adapters(model)
        for kind, part in zip(("lora_A", "lora_B"), _matrices(adapter), strict=True)
    }
    specs = [TensorSpec(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in sorted(tensors.items())]
    write_file(
        folder / "adapter_model.safetensors", specs, tensors=iter(sorted(tensors.items())), metadata={"format": "pt"}
    )
    _write_config(folder, model.peft_config[NAME], base=base)


def peft_name(path: str, kind: str) -> str:
    """Return PEFT's name for a factor of the layer at ``path`` in its files."""
    return f"base_model.model.{path}.{kind}.weight"


def write_peft_config(
    folder: Path,
    *,
    base: str | None,
    r: int,
    lora_alpha: int,
    target_modules: str | list[str],
    fan_in_fan_out: bool,
    rank_pattern: dict[str, int],
    alpha_pattern: dict[str, int],
) -> None:
    """Write PEFT's configuration of adapters for a causal language model; arguments are PEFT's."""
    import peft

    config = peft.LoraConfig(
        r=r,
        lora_alpha=lora_alpha,
        target_modules=target_modules,
        fan_in_fan_out=fan_in_fan_out,
        rank_pattern=rank_pattern,
        alpha_pattern=alpha_pattern,
        task_type="CAUSAL_LM",
    )
    _write_config(folder, config, base=base)


def _write_config(folder: Path, config: Any, *, base: str | None) -> None:
    facts = config.to_dict() | {"base_model_name_or_path": base, "inference_mode": True}
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in facts.items()}
    write_json(folder / "adapter_config.json", json.loads(json.dumps(plain)))


def _matrices(adapter: Adapter) -> tuple[Any, Any]:
    """Return the linear layers that hold A and B."""
    return adapter.layer.lora_A[NAME], adapter.layer.lora_B[NAME]


def _begin(adapter: Adapter, seed: int) -> None:
    """Draw A and set B to 0, in the dtype and on the device of W."""
    weight = adapter.layer.base_layer.weight
    a, b = _matrices(adapter)
    if weight.device.type == "meta":
        return
    digest = hashlib.blake2b(f"lora {seed} {adapter.path}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
    bound = 1 / math.sqrt(a.in_features)
    first = (2 * torch.rand(a.weight.shape, generator=generator) - 1) * bound
    a.weight = nn.Parameter(first.to(weight.device, weight.dtype))
    b.weight = nn.Parameter(torch.zeros(b.weight.shape, device=weight.device, dtype=weight.dtype))
