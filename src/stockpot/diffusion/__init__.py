"""What workloads share about diffusion models: load, codec, objective, sampling.

Everything here may import torch and diffusers, so nothing here is imported at the top of a module
that the operator or the command line loads. Nothing here knows of clusters, stores or shards.
"""
