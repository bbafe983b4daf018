"""A toy experiment: consistency models of points on a manifold that is known exactly."""
