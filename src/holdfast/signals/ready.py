"""Signals ready to use: a name, what a recipe writes, and the probe that must be asked for.

``holdfast replay`` tries them all; ``docs/signals.md`` says what each needs, costs, and is known to be worth. In
``reads``, ``{id}``, ``{ood}`` and ``{validation}`` stand for the names of suites.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.signals.base import Signal
from holdfast.signals.spec import signal_of


@dataclass(frozen=True)
class Ready:
    """A signal with its options.

    Attributes:
        spec: As ``stop`` spells it, with places for names of suites.
        probe: Which probe writes what it reads; empty if none is needed.
    """

    spec: Mapping[str, Any]
    probe: str = ""

    def signal(self, suites: Mapping[str, str]) -> Signal | None:
        """Return the signal; None where it reads a suite that there is not.

        Args:
            suites: Names that stand for ``id``, ``ood`` and ``validation``, as far as there are any.
        """
        try:
            return signal_of(_filled(self.spec, suites))
        except KeyError:
            return None


READY: Mapping[str, Ready] = {
    "patience on validation NLL": Ready({"signal": "patience", "reads": "validation_nll", "mode": "min"}, "validation"),
    "GL on validation NLL": Ready({"signal": "behind", "reads": "validation_nll", "by": 0.05}, "validation"),
    "train–validation gap": Ready({"signal": "drift", "reads": "nll_gap", "by": 0.05}, "gap"),
    "patience on validation success": Ready({"signal": "patience", "reads": "eval_{validation}_success"}),
    "patience on ID success": Ready({"signal": "patience", "reads": "eval_{id}_success"}),
    "KL budget": Ready({"signal": "drift", "reads": "kl_from_base", "by": 0.05}, "kl"),
    "update budget": Ready({"signal": "drift", "reads": "update_norm", "by": 0.05}),
    "rotation budget": Ready({"signal": "drift", "reads": "rotation_left", "by": 10.0}, "rotation"),
    "base-text drift": Ready({"signal": "drift", "reads": "base_text_nll", "by": 0.1}, "base_text"),
    "entropy": Ready(
        {"signal": "drift", "reads": "prediction_entropy", "by": 0.5, "mode": "down", "relative": True}, "entropy"
    ),
    "gradient disparity": Ready({"signal": "rises", "reads": "gradient_disparity", "times": 5}, "gradient_disparity"),
    "label wave": Ready({"signal": "turn", "reads": "prediction_flips", "window": 3}, "label_wave"),
    "interactions": Ready({"signal": "interactions"}, "interactions"),
    "interactions, by templates": Ready({"signal": "interactions", "by": "templates"}, "interactions"),
    "interactions, latest": Ready({"signal": "interactions", "keep": "latest"}, "interactions"),
    "words' evidence": Ready({"signal": "patience", "reads": "words_evidence"}, "interactions_cheap"),
    "words' high orders": Ready({"signal": "rises", "reads": "words_high_order", "times": 3}, "interactions_cheap"),
    "quorum": Ready(
        {
            "signal": "combined",
            "of": [
                {"signal": "patience", "reads": "validation_nll", "mode": "min"},
                {"signal": "rises", "reads": "gradient_disparity", "times": 5},
                {"signal": "turn", "reads": "prediction_flips", "window": 3},
            ],
            "quorum": 2,
            "veto": [{"signal": "drift", "reads": "kl_from_base", "by": 0.1}],
        },
        "validation, gradient_disparity, label_wave, kl",
    ),
    "patience on OOD success": Ready({"signal": "patience", "reads": "eval_{ood}_success"}),
    "OOD peak": Ready({"signal": "ood_peak", "reads": "eval_{ood}_success", "warmup": 1}),
}
"""By name, in the order of tables. The last two need what a practitioner seldom has: problems out of distribution."""


def _filled(spec: Mapping[str, Any], suites: Mapping[str, str]) -> dict[str, Any]:
    return {key: value.format_map(suites) if key == "reads" else value for key, value in spec.items()}
