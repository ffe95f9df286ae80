"""A run that played shows its episodes, and its loss, which is no likelihood, is not drawn as one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from holdfast.report import figures


def an_arm(name: str, metrics: list[dict[str, float]]) -> Any:
    return SimpleNamespace(name=name, runs=(SimpleNamespace(metrics=metrics),))


PLAYED = an_arm(
    "grpo", [{"step": 1, "loss": 0.1, "train_success": 0.25}, {"step": 9, "loss": -0.1, "train_success": 0.75}]
)
TAUGHT = an_arm("sft", [{"step": 1, "loss": 2.0, "nll": 2.0}, {"step": 9, "loss": 0.5, "nll": 0.5}])


def points(figure: Any) -> list[list[tuple[float, float]]]:
    (panel,) = figure.axes
    return [list(map(tuple, line.get_xydata())) for line in panel.get_lines()]


def test_only_arms_that_played_have_a_curve_of_episodes() -> None:
    drawn = figures.episodes([TAUGHT, PLAYED])
    assert points(drawn) == [[(1.0, 0.25), (9.0, 0.75)]]
    assert drawn.axes[0].get_ylabel() == "solved episodes"
    assert figures.episodes([TAUGHT]) is None


def test_only_arms_with_a_likelihood_have_a_learning_curve() -> None:
    assert points(figures.learning_curves([TAUGHT, PLAYED])) == [[(1.0, 2.0), (9.0, 0.5)]]
    assert figures.learning_curves([PLAYED]) is None
