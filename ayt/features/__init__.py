"""Features: image transformations that a classifier learns to recognise, and distances between its features."""
