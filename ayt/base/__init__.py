"""What everything else builds on: errors, files, YAML, paths, settings, registries, randomness, processes, weights."""
