"""From results to what is read: scores, figures, tables, and the pages of the report."""
