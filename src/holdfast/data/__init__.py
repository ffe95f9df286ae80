"""Demonstrations and files in, token batches out."""
