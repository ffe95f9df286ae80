"""Plain lines of progress: every moment, a line of metrics now and then, and where things stand at an interrupt."""

from __future__ import annotations

import pytest
import typer

from holdfast.cli.progress import Lines, Standing, watched
from holdfast.records import Decision, Record, Verb


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def record(step: int, ood: float | None, decision: Decision | None = None) -> Record:
    readings = {"eval_id_success": 0.975, "eval_ood_success": ood, "eval_ood_success_select": 0.1}
    return Record(step, {}, readings, {}, decision)


def test_moments_are_lines_and_metrics_are_rare_ones() -> None:
    clock, said = Clock(), list[str]()
    lines = Lines(said.append, standing=Standing(clock=clock))
    lines.started(100, at=0)
    for step in range(1, 31):
        clock.now += 1
        lines.logged({"step": step, "loss": 0.5, "nll": 0.25})
    lines.measured(record(30, 0.3))
    assert said == [
        "step 10/100  loss 0.5  nll 0.25  eta 1:30",
        "step 20/100  loss 0.5  nll 0.25  eta 1:20",
        "step 30/100  loss 0.5  nll 0.25  eta 1:10",
        "step 30/100  loss 0.5  nll 0.25  id 97.5 %  ood 30.0 %  eta 1:10",
    ]


def test_an_unknown_score_is_a_question_mark_and_a_stop_says_why() -> None:
    said = list[str]()
    lines = Lines(said.append)
    lines.started(100, at=40)
    lines.measured(record(60, None, Decision(Verb.STOP, 20, False, "no better for 3 moments")))
    assert said[0] == "going on at step 40 of 100"
    assert "ood ?" in said[1]
    assert "best 20" in said[1]
    assert said[2] == "stopping: no better for 3 moments"


def test_the_time_left_counts_only_the_steps_of_this_process() -> None:
    clock = Clock()
    standing = Standing(clock=clock)
    standing.start(100, at=90)
    clock.now = 10
    standing.metrics = {"step": 95}
    assert standing.line().endswith("eta 0:10")


def interrupted_at_step_40() -> None:
    with watched(again="holdfast train r.yaml") as progress:
        progress.started(160, at=0)
        progress.logged({"step": 40})
        raise KeyboardInterrupt


def test_an_interrupt_says_where_things_stand_and_exits_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        interrupted_at_step_40()
    assert ended.value.exit_code == 130
    said = capsys.readouterr().err
    assert "at step 40 of 160" in said
    assert "To go on: holdfast train r.yaml" in said
