"""Settings of feature networks, one module each; no torch here."""
