"""Diffusion models for all workloads: data folders, families, objectives, drawing.

Modules here may import torch and diffusers, so the operator and the command line import none of
them at start. They know nothing of clusters, stores or shards.
"""
