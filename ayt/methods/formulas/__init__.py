"""The formulas of training: times, losses, and the pair of passes that they compare."""
