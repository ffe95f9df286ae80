"""Supervised fine-tuning: the recipe's objective on demonstrations as they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SFT:
    """Learn from demonstrations; see `holdfast.train.sft`. It has no options of its own."""
