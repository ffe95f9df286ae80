"""What is measured of a model beside its suites. A literal table; members are imported when asked for."""

PROBES = {
    "kl": "holdfast.probes.kl:KL",
    "validation": "holdfast.probes.validation:Validation",
    "gap": "holdfast.probes.gap:Gap",
    "entropy": "holdfast.probes.entropy:Entropy",
    "base_text": "holdfast.probes.base_text:BaseText",
    "gradient_disparity": "holdfast.probes.gradient_disparity:GradientDisparity",
    "label_wave": "holdfast.probes.label_wave:LabelWave",
    "rotation": "holdfast.probes.rotation:Rotation",
    "interactions": "holdfast.probes.interactions.probe:Interactions",
    "interactions_cheap": "holdfast.probes.interactions.cheap:InteractionsCheap",
}
