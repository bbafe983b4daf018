"""From an experiment to what must be computed: records, the names derived from them, what depends on what."""
