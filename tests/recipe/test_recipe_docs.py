"""docs/recipes.md names every key of the schema with its default, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from holdfast.recipe import Budget, Data, Decoding, Every, Penalty, Recipe, Replay, SuiteSpec
from holdfast.recipe.faults import SETTLED_ELSEWHERE

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
SECTIONS = {
    "## Keys": Recipe,
    "### `data`": Data,
    "### `data.replay`": Replay,
    "### `suites.<name>`": SuiteSpec,
    "### `suites.<name>.decoding`": Decoding,
    "### `budget`": Budget,
    "### `evaluate_at`": Every,
    "### `penalty`": Penalty,
}


def rows_of(heading: str) -> dict[str, str]:
    section = PAGE.split(f"\n{heading}\n")[1].split("\n#")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, flags=re.MULTILINE))


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_page_lists_the_keys_of_the_schema_with_their_defaults(heading: str) -> None:
    block: type[BaseModel] = SECTIONS[heading]
    written = rows_of(heading)
    assert set(written) == set(block.model_fields)
    for key, field in block.model_fields.items():
        default = field.get_default(call_default_factory=True)  # type: ignore[call-arg]
        if field.is_required() or default is PydanticUndefined:
            assert written[key] == "required", key
        elif isinstance(default, BaseModel):
            assert written[key] == "greedy", key
        else:
            assert json.dumps(yaml.safe_load(written[key].replace("1e-08", "1.0e-08"))) == json.dumps(default), key


def test_the_page_lists_the_keys_of_other_trainers_with_what_to_write() -> None:
    section = PAGE.split("\n## Keys of other trainers\n")[1]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, flags=re.MULTILINE)) == SETTLED_ELSEWHERE
