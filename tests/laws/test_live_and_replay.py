"""A run that a signal stops, and the same signal replayed on a twin that nothing stopped: one decision.

The twin records all that any signal reads. Its own signal is the oracle, which never stops and splits the suite that it
reads, as a stopping signal does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from safetensors.torch import load_file

import probe_kit
from holdfast.models.find import find
from holdfast.plan import check
from holdfast.run import RunResult, run
from holdfast.run.observer import read_result
from holdfast.signals import SIGNALS
from holdfast.signals.replay import replay
from holdfast.signals.spec import signal_of

pytestmark = pytest.mark.slow

OOD = {
    "environment": "general_points", "rule": "faces_as_5_7_9", "purpose": "ood", "size": 6,
    "decoding": {"max_new_tokens": 2},
}  # fmt: skip
PROBES: dict[str, dict[str, Any]] = {
    "kl": {"rows": 4}, "validation": {"rows": 4}, "label_wave": {"rows": 4},
    "interactions": {"prompts": 2, "players": 2, "repeats": 2},
}  # fmt: skip


class Case(NamedTuple):
    """How a signal stops a run of five steps, and the probes that it needs."""

    options: dict[str, Any]
    probes: tuple[str, ...] = ()


CASES = {
    "patience": Case({"reads": "eval_ood_success", "patience": 3}),
    "behind": Case({"reads": "kl_from_base", "mode": "min", "relative": False, "by": 0.002}, ("kl",)),
    "drift": Case({"reads": "kl_from_base", "by": 0.003}, ("kl",)),
    "reached": Case({"reads": "update_norm", "at": 0.09}),
    "rises": Case({"reads": "validation_nll", "mode": "down", "times": 3}, ("validation",)),
    "turn": Case({"reads": "prediction_flips", "window": 1}, ("label_wave",)),
    "interactions": Case({"facts": 0, "confidence": 0.51}, ("interactions",)),
    "combined": Case(
        {
            "of": [
                {"signal": "patience", "reads": "eval_ood_success", "patience": 2},
                {"signal": "rises", "reads": "validation_nll", "mode": "down", "times": 4},
            ],
            "veto": [{"signal": "drift", "reads": "kl_from_base", "by": 0.1}],
        },
        ("kl", "validation"),
    ),
    "ood_peak": Case({"reads": "eval_ood_success"}),
}


def values(folder, stop, probes):
    return probe_kit.recipe(
        folder, stop=stop, probes={name: PROBES[name] for name in probes}, suites={"ood": OOD},
        budget={"steps": 5},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("twins")


@pytest.fixture(scope="module")
def twin(folder) -> RunResult:
    stop = {"signal": "ood_peak", "reads": "eval_ood_success"}
    asked = values(folder, stop, tuple(PROBES))
    return run(check({**asked, "save_steps": 1}, source="test"), folder=folder / "twin")


@pytest.fixture(autouse=True)
def _no_page(monkeypatch):
    probe_kit.without_page(monkeypatch)


def test_there_is_a_case_for_every_signal():
    assert set(CASES) == set(SIGNALS)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_live_run_and_a_replay_give_the_same_decision_and_keep_the_same_weights(folder, twin, name):
    case = CASES[name]
    stop = {"signal": name, **case.options}
    live = run(check(values(folder, stop, case.probes), source="test"), folder=folder / name)
    told = replay(signal_of(stop), twin.records)
    decision = live.records[-1].decision
    assert (live.status == "stopped", live.records[-1].step) == (
        told.stopped is not None,
        twin.steps if told.stop_step is None else told.stop_step,
    )
    assert decision == told.decision
    if name != "ood_peak":
        assert live.steps < twin.steps
    result = read_result(live.folder)
    if decision.best_step is not None:
        assert result["best_checkpoint"] == f"checkpoint-{decision.best_step}"
        assert find(str(live.folder)) == live.folder / result["best_checkpoint"]
        kept = load_file(live.folder / result["best_checkpoint"] / "model.safetensors")
        if decision.best_step > 0:
            there = load_file(twin.folder / f"checkpoint-{decision.best_step}" / "model.safetensors")
            assert all(kept[key].equal(there[key]) for key in there)
