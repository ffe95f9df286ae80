"""When to stop. A literal table; members are imported when asked for."""

SIGNALS = {
    "patience": "holdfast.signals.patience:Patience",
    "behind": "holdfast.signals.behind:Behind",
    "drift": "holdfast.signals.drift:Drift",
    "reached": "holdfast.signals.reached:Reached",
    "rises": "holdfast.signals.rises:Rises",
    "turn": "holdfast.signals.turn:Turn",
    "interactions": "holdfast.signals.interactions:Interactions",
    "combined": "holdfast.signals.combined:Combined",
    "ood_peak": "holdfast.signals.ood_peak:OODPeak",
}
