"""From an experiment to what must be computed: records, the names that follow from them, what depends on what."""
