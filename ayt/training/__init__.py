"""Training: one loop for diffusion models, classifiers and consistency models."""
