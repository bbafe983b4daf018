"""Datasets of small images: a module for each, with its settings, its facts, and how it is read. No torch here."""
