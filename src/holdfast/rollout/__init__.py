"""Batched generation and verification: the one place where a model answers."""
