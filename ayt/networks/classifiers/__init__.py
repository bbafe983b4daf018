"""Settings of feature networks, a module for each; no torch here."""
