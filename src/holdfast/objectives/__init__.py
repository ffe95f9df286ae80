"""What training minimizes. A literal table; members are imported when asked for."""

OBJECTIVES = {
    "nll": "holdfast.objectives.nll:NLL",
    "dft": "holdfast.objectives.dft:DFT",
    "power": "holdfast.objectives.power:Power",
    "threshold": "holdfast.objectives.threshold:Threshold",
    "entropy": "holdfast.objectives.entropy:Entropy",
    "proximal": "holdfast.objectives.proximal:Proximal",
    "importance": "holdfast.objectives.importance:Importance",
    "sample_weighted": "holdfast.objectives.sample_weighted:SampleWeighted",
    "anchored": "holdfast.objectives.anchored:Anchored",
    "label_smoothing": "holdfast.objectives.label_smoothing:LabelSmoothing",
    "gem": "holdfast.objectives.gem:GEM",
}
