"""Singular directions of a base model's weights, and what an update does to them. One file a quantity."""
