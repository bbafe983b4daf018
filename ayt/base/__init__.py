"""What everything else stands on: errors, files, YAML, paths, settings, registries, randomness, processes, weights."""
