"""Ways of training: settings, a module for each method and without torch; their formulas are in ``formulas``."""
