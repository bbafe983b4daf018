"""Training methods: settings without torch, one module each; their formulas are in ``formulas``."""
