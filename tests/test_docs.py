"""What the docs say of the command line is what it prints; what they link to exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_command_line_page_is_not_stale(generate: ModuleType) -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == generate.reference(), "run `make docs`"


@pytest.mark.slow
def test_tables_on_the_pages_are_those_of_the_committed_records(generate: ModuleType) -> None:
    pages = [page for page in PAGES if "<!-- table:" in page.read_text()]
    assert pages
    for page in pages:
        assert page.read_text() == generate.with_tables(page.read_text()), f"run `make docs`: {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_local_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_of_the_repository_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:recipes|studies|examples|benchmarks|tests)/[\w./-]+\.(?:yaml|py|jsonl|md))`", page.read_text()
    )
    assert [name for name in named if not (ROOT / name).exists()] == []
