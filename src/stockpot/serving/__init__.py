"""The inference server: loads granted revisions, generates images, and reports what it holds.

It knows nothing of Kubernetes and does not choose the revision to serve: the operator does, and
grants it on the admin port. `stockpot.api.serving` describes that protocol.
"""
