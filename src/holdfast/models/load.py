"""Load a model with its tokenizer, completely or not at all.

Transformers fills a weight that the files lack with random numbers and prints a table; it follows a shard index out of
the folder; it unpickles. Here each of these is a refusal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from holdfast.errors import ModelError, ModelNotFound
from holdfast.models.compute import dtype_named
from holdfast.models.find import exposure, find
from holdfast.models.processors import PROCESSOR_FILES, processor_in
from holdfast.models.tensors import weight_files

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)
PADS = ("<|finetune_right_pad_id|>", "<pad>", "<|pad|>", "[PAD]", "<|padding|>")
"""Tokens that some model families hold for padding without declaring it."""


@dataclass(frozen=True)
class Loaded:
    """A model as it was found.

    Attributes:
        model: In eval mode, on the CPU, every weight from the files.
        tokenizer: Always has a pad token.
        processor: Of an image-text model, on the same tokenizer; None for a text model, or if the folder has none.
        source: The name as it was asked for.
        folder: Where the files lie.
        fingerprint: SHA-256 over ``config.json`` and the contents of all weight files; not over their place.
        tokenizer_fingerprint: SHA-256 over the files of tokenizer and processor.
        exposure: What the base has seen in pre-training (``exposure.json``); None if unknown.
        pad_note: How a missing pad token was chosen, in words; empty if the tokenizer has one of its own.
        ignored: Tensors of the files that the model has no place for; an export will not hold them.
    """

    model: Any
    tokenizer: Any
    processor: Any | None
    source: str
    folder: Path
    fingerprint: str
    tokenizer_fingerprint: str
    exposure: Mapping[str, Any] | None
    pad_note: str = ""
    ignored: tuple[str, ...] = ()

    @property
    def speaker(self) -> Any:
        """What turns conversations into inputs: the processor where there is one, else the tokenizer."""
        return self.tokenizer if self.processor is None else self.processor


def load(
    name_or_path: str,
    *,
    dtype: str | torch.dtype = "auto",
    attn_implementation: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    tensors: Mapping[str, Tensor] | None = None,
) -> Loaded:
    """Load a shipped base, a folder or a hub model.

    Args:
        name_or_path: What `holdfast.models.find.find` understands.
        dtype: ``"auto"`` keeps the dtype of the files; else ``"bfloat16"``, ``"float32"``, … or a torch dtype.
        attn_implementation: For example ``"eager"`` or ``"sdpa"``; None leaves the choice to Transformers.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Whether Python files that come with the model may run. Off by default.
        tensors: Weights that stand in the place of those of the files, under the files' names and in their form
            (`holdfast.models.file_form`): a model that is tried without being written.

    Raises:
        ModelNotFound: there is nothing of this name, or it cannot be reached.
        ModelError: there is something, but not a complete and safe model.
    """
    folder = fetch(name_or_path, revision=revision, trust_remote_code=trust_remote_code)
    config = _config(folder, trust_remote_code=trust_remote_code)
    weights = _safe_weights(folder)
    image_text = _is_image_text(config)
    auto = transformers.AutoModelForImageTextToText if image_text else transformers.AutoModelForCausalLM
    try:
        # The automatic classes take no tensors; the class that they would choose does.
        made, place = (auto, folder) if tensors is None else (auto._model_mapping[type(config)], None)
        model, info = made.from_pretrained(
            place,
            config=config,
            **({} if tensors is None else {"state_dict": dict(tensors)}),
            dtype=dtype_named(dtype) if dtype != "auto" else "auto",
            attn_implementation=attn_implementation,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
        if tensors is not None and (folder / "generation_config.json").is_file():
            model.generation_config = transformers.GenerationConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
        processor = processor_in(folder, tokenizer, trust_remote_code=trust_remote_code) if image_text else None
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, SafetensorError) as fault:
        raise ModelError(f"model {name_or_path!r} in {folder} cannot be loaded: {_first_lines(fault)}") from fault
    _refuse_incomplete(name_or_path, info)
    return Loaded(
        model=model.eval(),
        tokenizer=tokenizer,
        processor=processor,
        source=name_or_path,
        folder=folder,
        fingerprint=_digest([folder / "config.json", *weights]) if tensors is None else _digest_of(tensors),
        tokenizer_fingerprint=_digest(
            [folder / file for file in (*TOKENIZER_FILES, *PROCESSOR_FILES) if (folder / file).is_file()]
        ),
        exposure=exposure(folder),
        pad_note=_ensure_pad(tokenizer),
        ignored=tuple(sorted(info["unexpected_keys"])),
    )


def fetch(name_or_path: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Path:
    """Return the folder of a model; a hub model is downloaded first (safetensors, config and tokenizer only).

    Raises:
        ModelNotFound: see `load`.
    """
    place = find(name_or_path)
    if isinstance(place, Path):
        return place
    wanted = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", *(["*.py"] if trust_remote_code else [])]
    name = f"model {name_or_path!r}"
    try:
        return Path(
            snapshot_download(
                place, revision=revision, allow_patterns=wanted, ignore_patterns=["*/*", "consolidated*.safetensors"]
            )
        )
    except GatedRepoError as fault:
        raise ModelNotFound(
            f"{name} is gated: accept its terms on https://huggingface.co/{place}, then set HF_TOKEN or `hf auth login`"
        ) from fault
    except RepositoryNotFoundError as fault:
        raise ModelNotFound(f"{name} is not a local folder and not on the hub (or private: set HF_TOKEN)") from fault
    except RevisionNotFoundError as fault:
        raise ModelNotFound(f"{name} has no revision {revision!r} on the hub") from fault
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as fault:
        raise ModelNotFound(
            f"{name} is no local folder, not in the cache, and the hub cannot be reached ({type(fault).__name__}); "
            "connect to the internet, or give a folder"
        ) from fault


def _config(folder: Path, *, trust_remote_code: bool) -> Any:
    if (folder / "adapter_config.json").is_file():
        raise ModelError(f"{folder} holds an adapter (adapter_config.json); merge it into its base model first")
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        raise ModelNotFound(f"{folder} holds no config.json") from fault
    except ValueError as fault:
        raise ModelError(f"{folder}/config.json is not JSON: {fault}") from fault
    # Older Transformers ran code from this key with trust_remote_code off (CVE-2026-4372).
    if "_attn_implementation_internal" in raw:
        raise ModelError(f"{folder}/config.json sets _attn_implementation_internal, which no honest model needs")
    try:
        return transformers.AutoConfig.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except (OSError, ValueError, KeyError, ImportError, TypeError) as fault:
        raise ModelError(f"{folder}/config.json cannot be used: {_first_lines(fault)}") from fault


def _safe_weights(folder: Path) -> list[Path]:
    if not any(folder.glob("*.safetensors")):
        found = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if found:
            raise ModelError(
                f"{folder} holds pickled weights only ({found[0]}), which can run code when opened; "
                "convert them to safetensors first (https://huggingface.co/spaces/safetensors/convert)"
            )
        raise ModelNotFound(f"{folder} holds no *.safetensors")
    return weight_files(folder)


def _is_image_text(config: Any) -> bool:
    """Whether the files are those of an image-text model: its class is named, or no causal class knows the config."""
    known = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(config.model_type)
    if known is None:
        return False
    names = (known,) if isinstance(known, str) else tuple(known)
    if config.architectures:
        return any(name in names for name in config.architectures)
    return type(config) not in transformers.AutoModelForCausalLM._model_mapping


def _refuse_incomplete(name: str, info: Mapping[str, Any]) -> None:
    missing, mismatched = sorted(info["missing_keys"]), sorted(str(key) for key in info["mismatched_keys"])
    if missing or mismatched:
        first = ", ".join([*missing, *mismatched][:10])
        raise ModelError(
            f"model {name!r} is incomplete: {len(missing)} weights are missing and {len(mismatched)} have another "
            f"shape than config.json says (first: {first}). Nothing is filled with random numbers."
        )


def _ensure_pad(tokenizer: Any) -> str:
    """Give the tokenizer a pad token out of its vocabulary if it has none, and say which; never add a token."""
    if tokenizer.pad_token is not None:
        return ""
    vocabulary = tokenizer.get_vocab()
    spare = next((token for token in PADS if token in vocabulary), None)
    if spare is None and tokenizer.unk_token is not None and tokenizer.unk_token != tokenizer.eos_token:
        spare = tokenizer.unk_token
    if spare is None:
        spare = tokenizer.eos_token
    if spare is None:
        raise ModelError("the tokenizer has neither a pad, an unknown nor an end token; set tokenizer.pad_token")
    tokenizer.pad_token = spare
    return f"the tokenizer declares no pad token; {spare!r} is used (padding is masked by position, never by its id)"


def _digest(files: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        with path.open("rb") as stream:
            whole.update(f"{path.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def _digest_of(tensors: Mapping[str, Tensor]) -> str:
    whole = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        whole.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def _first_lines(fault: BaseException) -> str:
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return f"{type(fault).__name__}: {' '.join(lines[:3])[:400]}"
