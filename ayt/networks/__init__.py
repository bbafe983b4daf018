"""Networks: denoisers and feature networks. They know nothing of training.

``denoisers`` and ``classifiers`` have the settings of each, a module for each and without torch; ``modules`` has the
networks themselves.
"""
