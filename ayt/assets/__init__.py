"""Published files that experiments use: which they are, where they come from, and that they arrive whole."""
