"""Settings of denoisers, a module for each; no torch here."""
