"""What docstrings and the docs page show runs."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from holdfast.models import structure
from holdfast.selection import base, globs, match, parse

PAGE = Path(__file__).parents[2] / "docs" / "add-a-selection.md"


@pytest.mark.parametrize("module", [structure, base, globs, match], ids=lambda module: module.__name__)
def test_the_examples_of_docstrings_hold(module: ModuleType) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted
    assert not outcome.failed


def test_every_selection_on_the_docs_page_is_understood() -> None:
    lines = re.findall(r"^trainable: .*$", PAGE.read_text(), re.MULTILINE)
    assert len(lines) == 6
    for line in lines:
        parse(yaml.safe_load(line)["trainable"])
