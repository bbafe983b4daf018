"""Tables of experiments, a kind in each module."""
