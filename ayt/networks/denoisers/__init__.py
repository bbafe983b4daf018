"""Settings of denoisers, one module each; no torch here."""
