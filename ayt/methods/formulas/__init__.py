"""The formulas of consistency training: times, losses, and the pair of passes that they compare."""
