"""From results to what people read: scores, figures, tables, and the pages of the report."""
