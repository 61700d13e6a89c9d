"""Kinds of diffusion models: each is one file, and nothing else knows what differs between them.

port              what a family does: encode, predict, draw; the contract of all of them
registry          the family of a base, by the class in its model_index.json
loading           the frozen parts and the denoiser, out of a diffusers folder
stable_diffusion  Stable Diffusion 1.x and 2.x
"""
