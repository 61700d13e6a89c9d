"""Kinds of diffusion models: each is one file, and nothing else knows what differs between them.

Callers open a base with `registry` and use what `port` describes.

    port                 what a family does: encode, predict, draw
    registry             the family of a base, by the class in its model_index.json
    loading              the frozen parts and the denoiser, out of a diffusers folder
    latent_family        what families with a VAE and a pipeline of diffusers share
    stable_diffusion     Stable Diffusion 1.x and 2.x
    stable_diffusion_xl  Stable Diffusion XL
    flux                 FLUX.1
"""
