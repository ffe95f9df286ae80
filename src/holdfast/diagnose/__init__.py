"""What training did to a model, looked at from inside: one file a question."""
