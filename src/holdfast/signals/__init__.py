"""When to stop. A literal table; members are imported when asked for."""

SIGNALS = {
    "patience": "holdfast.signals.patience:Patience",
    "ood_peak": "holdfast.signals.ood_peak:OODPeak",
    "reached": "holdfast.signals.reached:Reached",
}
