"""The evidence behind `holdfast.models.roles`: module types, shapes and the tree, and the naming habits of the library.

The tree is read in three steps: towers of another modality, the one stack of decoder blocks, then each parameter from
its block down to its own module; the outermost module that is decisive gives the role. A naming habit is a pattern that
holds across the library (a class that ends with ``Attention``); nothing here names a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from holdfast.errors import UnknownRole
from holdfast.models.roles import ParameterRole, Role

ATTENTION_CLASS = re.compile(r"Attention(V?\d+)?$")
MIXER_CLASS = re.compile(r"(Mixer|Mamba\d*|GatedDeltaNet|ShortConv|RecurrentBlock|RgLru|LSTMLayer)$")
MLP_CLASS = re.compile(r"(MLP|Mlp|FeedForward|FFN|FFNLayer)$")
ROUTER_CLASS = re.compile(r"(Router|Gate|Gating)$")
EXPERTS_CLASS = re.compile(r"Experts$")
PROJECTOR_CLASS = re.compile(
    r"(Projector|Connector|Merger|Aligner|Resampler|Projection|Adapter|MultimodalEmbedder)(MLP|Model)?$"
)
PER_LAYER_EMBEDDING = re.compile(r"^per_layer_")
NORM_CLASS = re.compile(r"Norm(Gated|PerHead)?$")
CROSS = re.compile(r"cross_?att|^encoder_attn$|^EncDecAttention$", re.IGNORECASE)
QUERY_KEY_VALUE = (
    frozenset({"q_proj", "k_proj", "v_proj"}),
    frozenset({"query", "key", "value"}),
    frozenset({"qkv_proj"}),
    frozenset({"query_key_value"}),
    frozenset({"c_attn"}),
    frozenset({"Wqkv"}),
    frozenset({"kv_a_proj_with_mqa", "kv_b_proj"}),
)
RECURRENCE_PARAMETERS = frozenset({"A_log", "time_decay"})
UP_AND_DOWN = frozenset({"fc1", "fc2"})


@dataclass(frozen=True)
class Stack:
    """A list of blocks: the path of the ModuleList, and the index of its first block."""

    path: str
    length: int
    first: int = 0


@dataclass(frozen=True)
class Tree:
    """What is known of a model before its parameters are looked at one by one."""

    modules: dict[str, nn.Module]
    towers: dict[str, str]
    """Path of a tower to its modality: ``vision``, ``audio``, or the name of a modality without a role."""
    stacks: tuple[Stack, ...]
    """Blocks of the towers."""
    decoder: Stack
    heads: frozenset[int]
    """Identities of the output projections."""


def roles(model: nn.Module) -> tuple[ParameterRole, ...]:
    """Return one entry for each tensor of ``model``, in the order of ``model.named_parameters()``.

    Works on any device, ``meta`` included, and on models wrapped by PEFT: an adapter's parameters have the role of the
    module that they adapt.

    Args:
        model: A Hugging Face decoder-only model, with or without towers.

    Raises:
        UnknownRole: A module's role cannot be told; the message names its path and class. Encoder-decoder models are
            refused.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> config = LlamaConfig(vocab_size=32, hidden_size=8, intermediate_size=8, num_attention_heads=2)
        >>> roles(LlamaForCausalLM(config))[1].name
        'model.layers.0.self_attn.q_proj.weight'
    """
    tree = read(model)
    names: dict[int, list[str]] = {}
    shapes: dict[int, tuple[int, ...]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
        shapes[id(parameter)] = tuple(parameter.shape)
    found = []
    for key, (name, *tied) in names.items():
        role, layer = role_of(name, tree)
        tied_roles = tuple(role_of(other, tree)[0] for other in tied)
        found.append(ParameterRole(name, role, layer, shapes[key], tuple(tied), tied_roles))
    return tuple(found)


def read(model: nn.Module) -> Tree:
    """Find towers, blocks and head.

    Raises:
        UnknownRole: No pre-trained model inside, an encoder-decoder, or not exactly one stack of decoder blocks.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    root = next((module for module in modules.values() if isinstance(module, PreTrainedModel)), None)
    if root is None:
        raise _unknown("", model, "no transformers PreTrainedModel is in it")
    if root.config.is_encoder_decoder:
        raise _unknown("", root, "it is an encoder-decoder model; holdfast trains decoder-only models")
    joints = dict.fromkeys((path for path, module in modules.items() if _is_projector(module)), "")
    towers = dict(_towers(modules, root, joints))
    everywhere = tuple(_stacks(modules))
    stacks = [stack for stack in everywhere if not _is_under(stack.path, towers) and not _is_under(stack.path, joints)]
    if len(stacks) > 1:
        n_blocks = root.config.get_text_config(decoder=True).num_hidden_layers
        stacks = [stack for stack in stacks if stack.length == n_blocks]
    if len(stacks) != 1:
        found = ", ".join(f"{stack.path} ({stack.length})" for stack in everywhere) or "none"
        raise _unknown("", root, f"one stack of decoder blocks outside of towers was expected, found: {found}")
    inside: list[Stack] = []
    for tower in towers:
        first = 0
        for stack in everywhere:
            if _is_under(stack.path, {tower: ""}):
                inside.append(Stack(stack.path, stack.length, first))
                first += stack.length
    parts = [module for module in modules.values() if isinstance(module, PreTrainedModel)]
    heads = frozenset(id(head) for part in parts if (head := part.get_output_embeddings()) is not None)
    return Tree(modules, towers, tuple(inside), stacks[0], heads)


def role_of(name: str, tree: Tree) -> tuple[Role, int | None]:
    """Return role and layer of one parameter name."""
    owner_path, _, leaf = name.rpartition(".")
    path = _ancestors(owner_path)
    for tower, modality in tree.towers.items():
        if tower in path:
            if modality not in (Role.VISION, Role.AUDIO):
                raise _unknown(tower, tree.modules[tower], f"it is a tower for {modality!r}, which has no role")
            found = (layer for stack in tree.stacks if (layer := _layer(owner_path, stack)) is not None)
            return Role(modality), next(found, None)
    if any(id(tree.modules[above]) in tree.heads for above in path):
        return Role.HEAD, None
    layer = _layer(owner_path, tree.decoder)
    if layer is not None:
        return _role_in_block(owner_path, leaf, tree), layer
    return _role_outside(owner_path, leaf, tree), None


def _role_in_block(owner_path: str, leaf: str, tree: Tree) -> Role:
    """Walk from the block down to the owner; the outermost decisive module gives the role."""
    owner = tree.modules[owner_path]
    if _is_norm(owner):
        return Role.NORM
    depth = tree.decoder.path.count(".") + 2
    below = [path for path in _ancestors(owner_path) if path.count(".") >= depth]
    block_path = ".".join(owner_path.split(".")[:depth])
    parent = tree.modules[block_path]
    crossing = False
    for path in below:
        module, name = tree.modules[path], path.rpartition(".")[2]
        crossing = crossing or bool(CROSS.search(name) or CROSS.search(_class(module)))
        if NORM_CLASS.search(_class(module)):
            return Role.NORM
        if _is_mixer(module):
            return Role.MIXER
        if _is_attention(module):
            return Role.CROSS_ATTENTION if crossing else Role.ATTENTION
        if PER_LAYER_EMBEDDING.search(name) and isinstance(_inner(module), nn.Linear):
            return Role.EMBEDDING
        role = _role_of_child(parent, name, module)
        if role is not None:
            return role
        parent = module
    if _n_experts(owner) and owner.get_parameter(leaf).shape[0] == _n_experts(owner):
        return Role.ROUTER
    if not below and owner.get_parameter(leaf).numel() == 1 and _has_cross_attention(owner):
        return Role.CROSS_ATTENTION
    block = type(tree.modules[block_path]).__name__
    raise _unknown(owner_path, owner, f"nothing tells what its parameter {leaf!r} is for", block=block)


def _role_of_child(parent: nn.Module, name: str, module: nn.Module) -> Role | None:
    """Return mlp or router where ``module``, seen beside its siblings, is decisive."""
    n_experts = _n_experts(parent)
    if n_experts:
        if _holds_experts(name, module):
            return Role.MLP
        if ROUTER_CLASS.search(_class(module)):
            return Role.ROUTER
        inner = _inner(module)
        if isinstance(inner, nn.Linear) and inner.out_features in (n_experts, 1):
            return Role.ROUTER
    if _n_experts(module):
        return None
    if MLP_CLASS.search(_class(module)) or (name in UP_AND_DOWN and _names(parent) >= UP_AND_DOWN):
        return Role.MLP
    return None


def _role_outside(owner_path: str, leaf: str, tree: Tree) -> Role:
    """Return the role of a parameter outside of blocks, towers and head."""
    owner = tree.modules[owner_path]
    composites = {tower.rpartition(".")[0] for tower in tree.towers}
    side = next((side for composite in composites if (side := _beside_tower(owner_path, composite, tree))), None)
    if side is not None:
        joint = tree.modules[side]
        if _is_projector(joint) or isinstance(_inner(joint), nn.Linear):
            return Role.PROJECTOR
        raise _unknown(side, joint, "it joins a tower and the language model, but is no known kind of projector")
    if owner_path in composites:
        return Role.PROJECTOR  # what holds tower and language model owns nothing but what joins them: a row separator
    if isinstance(owner, nn.Embedding):
        return Role.EMBEDDING
    if _is_norm(owner):
        return Role.NORM
    above = _ancestors(owner_path)
    if any(isinstance(_inner(tree.modules[path]), nn.Embedding) for path in above):
        return Role.EMBEDDING
    if any(PER_LAYER_EMBEDDING.search(path.rpartition(".")[2]) for path in above):
        return Role.EMBEDDING
    raise _unknown(owner_path, owner, f"nothing tells what its parameter {leaf!r}, outside of the blocks, is for")


def _beside_tower(owner_path: str, composite: str, tree: Tree) -> str | None:
    """Return the path of the tower's sibling that holds ``owner_path``, unless that is the language model."""
    if owner_path == composite or not owner_path.startswith(composite + "." if composite else ""):
        return None
    depth = len(composite.split(".")) + 1 if composite else 1
    sibling = ".".join(owner_path.split(".")[:depth])
    return None if tree.decoder.path.startswith(sibling + ".") else sibling


def _towers(modules: dict[str, nn.Module], root: PreTrainedModel, joints: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the outermost sub-models that are configured by a non-text part of the root's configuration."""
    parts = {key: type(value) for key, value in vars(root.config).items() if isinstance(value, PretrainedConfig)}
    text = type(root.config.get_text_config(decoder=True))
    found: list[str] = []
    for path, module in modules.items():
        if module is root or not isinstance(module, PreTrainedModel):
            continue
        if _is_under(path, dict.fromkeys(found, "")) or _is_under(path, joints):
            continue
        kind = type(module.config)
        for key, part in parts.items():
            if kind is part and kind is not text and kind is not type(root.config):
                found.append(path)
                yield path, Role.VISION if re.search("vision|image", key) else key.removesuffix("_config")
                break


def _stacks(modules: dict[str, nn.Module]) -> Iterator[Stack]:
    """Yield the outermost ModuleLists with attention or a mixer in one of their elements."""
    found: dict[str, str] = {}
    for path, module in modules.items():
        if not isinstance(module, nn.ModuleList) or _is_under(path, found):
            continue
        if any(_is_attention(below) or _is_mixer(below) for below in module.modules()):
            found[path] = ""
            yield Stack(path, len(module))


def _is_norm(module: nn.Module) -> bool:
    own = [parameter for _, parameter in module.named_parameters(recurse=False)]
    return "Norm" in _class(module) and bool(own) and all(parameter.ndim <= 2 for parameter in own)


def _is_projector(module: nn.Module) -> bool:
    return bool(PROJECTOR_CLASS.search(_class(module)))


def _is_mixer(module: nn.Module) -> bool:
    if MIXER_CLASS.search(_class(module)) or RECURRENCE_PARAMETERS & _names(module):
        return True
    return any(isinstance(_inner(child), nn.Conv1d) for child in module.children())


def _is_attention(module: nn.Module) -> bool:
    if ATTENTION_CLASS.search(_class(module)):
        return True
    names = _names(module)
    return any(evidence <= names for evidence in QUERY_KEY_VALUE)


def _has_cross_attention(block: nn.Module) -> bool:
    return any(CROSS.search(name) for name, _ in block.named_children())


def _n_experts(module: nn.Module) -> int:
    """Return the number of experts among the children of ``module``; 0 if there are none."""
    for name, child in module.named_children():
        if _holds_experts(name, child):
            sizes = [int(parameter.shape[0]) for parameter in child.parameters() if parameter.ndim == 3]
            return len(child) if isinstance(child, nn.ModuleList) else max(sizes, default=0)
    return 0


def _holds_experts(name: str, module: nn.Module) -> bool:
    inner = _inner(module)
    if isinstance(inner, nn.Conv1d):
        return False  # its weight has three dimensions too
    if isinstance(inner, nn.ModuleList):
        return "expert" in name
    own = (parameter for _, parameter in inner.named_parameters(recurse=False))
    return bool(EXPERTS_CLASS.search(_class(module))) or any(parameter.ndim == 3 for parameter in own)


def _names(module: nn.Module) -> frozenset[str]:
    """Return the names of a module's children and own parameters."""
    inner = _inner(module)
    own = (name for name, _ in inner.named_parameters(recurse=False))
    return frozenset(own) | frozenset(name for name, _ in inner.named_children())


def _inner(module: nn.Module) -> nn.Module:
    """Return the module that a PEFT layer wraps, or ``module`` itself."""
    children = dict(module.named_children())
    while "base_layer" in children:
        module = children["base_layer"]
        children = dict(module.named_children())
    return module


def _class(module: nn.Module) -> str:
    return type(_inner(module)).__name__


def _layer(owner_path: str, stack: Stack) -> int | None:
    if not owner_path.startswith(stack.path + "."):
        return None
    return stack.first + int(owner_path[len(stack.path) + 1 :].split(".")[0])


def _ancestors(path: str) -> list[str]:
    """Return the paths from the root's to ``path`` itself.

    Example:
        >>> _ancestors("a.b")
        ['', 'a', 'a.b']
    """
    parts = path.split(".") if path else []
    return [".".join(parts[:k]) for k in range(len(parts) + 1)]


def _is_under(path: str, above: dict[str, str]) -> bool:
    return any(path == one or path.startswith(one + ".") for one in above)


def _unknown(path: str, module: nn.Module, why: str, *, block: str = "") -> UnknownRole:
    where = path or "the model"
    inside = f" in {block}" if block else ""
    return UnknownRole(
        f"the role of {where} ({type(module).__name__}{inside}) cannot be told: {why}. "
        "holdfast does not guess: freeze it in your own script, or add the evidence to holdfast/models/structure.py "
        "together with a tiny model of the architecture in tests/tiny_models.py."
    )
