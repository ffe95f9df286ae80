"""Interactions between the words of a prompt: what they are, how they are measured, and how they move in training.

`words` and `questions` say who plays, `masking` and `outputs` ask the model, `transforms` and `split` turn outputs into
interactions, `measure` holds them, and the others tell what became of them between two moments.
"""
