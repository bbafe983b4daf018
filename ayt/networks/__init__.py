"""Networks: denoisers and feature networks, independent of training.

``denoisers`` and ``classifiers`` hold their settings, one module each, without torch; ``modules`` holds the networks
themselves.
"""
