"""Tables of experiments, one kind per module."""
