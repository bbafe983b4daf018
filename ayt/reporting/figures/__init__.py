"""Figures and what they are drawn from: tables in, PDF, PNG and CSV out. No torch here."""
