"""One server: it holds what it was granted, answers requests for pictures, and says what it holds.

Nothing here knows of Kubernetes, or decides which revision should be served: the operator does, and
tells it on the admin port. See `stockpot.api.serving` for what the two say to each other.
"""
