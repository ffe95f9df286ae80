"""A model and a suite of problems in, estimates with intervals out."""
