"""Features: image transformations that a classifier learns to recognise, and distances in its features."""
