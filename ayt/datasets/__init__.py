"""Datasets of small images: one module each, with its settings, properties and reader. No torch here."""
