"""What training minimizes. A literal table; members are imported when asked for."""

OBJECTIVES = {
    "nll": "holdfast.objectives.nll:NLL",
    "dft": "holdfast.objectives.dft:DFT",
}
