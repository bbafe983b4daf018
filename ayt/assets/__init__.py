"""Published files that experiments use: what they are, where they come from, and that they arrive intact."""
