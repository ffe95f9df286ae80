"""The guide's example is a signal: it obeys the laws, and its replay runs."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path

import pytest

from holdfast.errors import NotRecorded
from holdfast.records import Record, Verb
from holdfast.signals.base import Signal
from holdfast.signals.replay import replay

GUIDE = Path(__file__).parents[2] / "docs" / "add-a-signal.md"


@pytest.fixture(scope="module")
def guide():
    """The first example, run as a module of its own."""
    module = types.ModuleType("guide_of_signals")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(blocks()[0], str(GUIDE), "exec"), module.__dict__)
    yield module
    del sys.modules[module.__name__]


def blocks():
    return re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)


def history(*values):
    return [Record(10 * k, {}, {"eval_ood_success": value}) for k, value in enumerate(values)]


def test_the_example_keeps_the_contract(guide):
    signal = guide.Floor()
    assert isinstance(signal, Signal)
    assert signal.decide([]).verdict is Verb.ABSTAIN
    assert signal.decide(history(0.5, None)).verdict is Verb.ABSTAIN
    with pytest.raises(NotRecorded):
        signal.decide([Record(0, {}, {})])


def test_the_example_stops_where_the_fall_is_too_deep_and_keeps_the_last_good_step(guide):
    told = replay(guide.Floor(tolerance=0.05), history(0.75, 0.8, 0.72, 0.4, 0.9))
    assert (told.stop_step, told.kept_step) == (30, 20)


def test_the_replay_of_the_guide_runs_on_finished_runs(guide, tmp_path, capsys):
    rows = [record.to_json() for record in history(0.75, 0.3)]
    (tmp_path / "recipe.yaml").write_text("run_name: one\nseed: 3\n")
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    exec(compile(blocks()[1], str(GUIDE), "exec"), {"folder": tmp_path, "Floor": guide.Floor})
    assert capsys.readouterr().out.startswith("one 3 stops at 10 keeps 0 because eval_ood_success is 0.3")
