"""A latent codec without training: the principal components of small image patches.

Only the codec lives here: fit, encode, decode. It has the call surface of diffusers'
``AutoencoderKL`` that ``StableDiffusionPipeline`` uses. A pipeline folder whose
``model_index.json`` says ``"vae": ["stockpot.diffusion.patch_codec", "PatchCodec"]`` opens with
plain diffusers once this module has been imported: diffusers never imports a module because a
folder names it. ``save_pretrained`` of such a pipeline writes the same line.
"""

# B batch, C image channels, L latent channels, H and W image size, P patch size (both in pixels).

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import conv2d, conv_transpose2d, unfold

from stockpot.errors import ExitCode, Refused


class PointDistribution:
    """A latent that is known exactly, in the place of a VAE's Gaussian."""

    def __init__(self, latents_BLHW: Tensor) -> None:  # noqa: N803
        self.mean = latents_BLHW

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """The latents themselves: nothing is random here, so ``generator`` is not used."""
        return self.mean

    def mode(self) -> Tensor:
        """The latents themselves."""
        return self.mean


class PatchCodec(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Encode each P by P patch by its first principal components.

    Linear, deterministic and a few kilobytes: a fit of about a second on small flat pictures keeps
    more of them than a tiny learned autoencoder does after minutes. It is for small pictures; real
    bases bring their own ``AutoencoderKL``.

    Attributes:
        encoder: Analysis filters, shape (L, C, P, P).
        decoder: Synthesis filters, shape (L, C, P, P).
        mean: The mean patch, shape (C, P, P).
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        *,
        in_channels: int = 3,
        latent_channels: int = 24,
        patch_size: int = 4,
        sample_size: int = 32,
        scaling_factor: float = 1.0,
        # The pipeline takes the patch size as 2 ** (len(block_out_channels) - 1).
        block_out_channels: tuple[int, ...] = (1, 1, 1),
        force_upcast: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if patch_size != 2 ** (len(block_out_channels) - 1):
            raise Refused(
                f"A codec of {patch_size} pixel patches has {len(block_out_channels)} entries in "
                f"block_out_channels, from whose number pipelines take the patch size.",
                help="let the patch size be 2 to the power of one less than that number",
                exit_code=ExitCode.BAD_BASE,
            )
        filters = (latent_channels, in_channels, patch_size, patch_size)
        self.encoder = Parameter(torch.zeros(filters))
        self.decoder = Parameter(torch.zeros(filters))
        self.mean = Parameter(torch.zeros(filters[1:]))

    @torch.no_grad()
    def fit(self, images_BCHW: Tensor) -> None:  # noqa: N803
        """Choose the components, and the scaling factor that gives latents unit variance.

        Args:
            images_BCHW: Pictures in [-1, 1], float32, H and W multiples of the patch size.
        """
        channels, size = self.config["in_channels"], self.config["patch_size"]
        patches = unfold(images_BCHW.double(), size, stride=size).transpose(1, 2).flatten(0, 1)
        mean = patches.mean(0)
        covariance = (patches - mean).T @ (patches - mean) / len(patches)
        variances, components = torch.linalg.eigh(covariance)  # ascending
        variances = variances.flip(0)[: self.config["latent_channels"]]
        components = components.flip(1)[:, : self.config["latent_channels"]]
        # An eigenvector's sign depends on the linear algebra library: without a rule, a codec that
        # is fitted again on another machine could have flipped channels.
        components = components * components.sum(0).sign()
        # Half whitening: full whitening would give faint detail the same say in the loss as shape.
        scale = variances.clamp(min=1e-12) ** 0.25
        shape = (-1, channels, size, size)
        self.encoder.copy_((components / scale).T.reshape(shape))
        self.decoder.copy_((components * scale).T.reshape(shape))
        self.mean.copy_(mean.reshape(shape[1:]))
        (latents,) = self.encode(images_BCHW, return_dict=False)
        scale = round(float(1 / latents.mode().std()), 6)
        self.register_to_config(scaling_factor=scale)  # type: ignore[no-untyped-call]

    def encode(
        self, x: Tensor, return_dict: bool = True
    ) -> AutoencoderKLOutput | tuple[PointDistribution]:
        """Turn pictures (B, C, H, W) in [-1, 1] into unscaled latents (B, L, H / P, W / P)."""
        size = self.config["patch_size"]
        mean = self.mean.repeat(1, x.shape[-2] // size, x.shape[-1] // size)
        latents = PointDistribution(conv2d(x - mean, self.encoder, stride=size))
        if not return_dict:
            return (latents,)
        return AutoencoderKLOutput(latent_dist=latents)

    def decode(
        self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None
    ) -> DecoderOutput | tuple[Tensor]:
        """Turn latents, divided by the scaling factor, into pictures in about [-1, 1]."""
        mean = self.mean.repeat(1, z.shape[-2], z.shape[-1])
        sample = conv_transpose2d(z, self.decoder, stride=self.config["patch_size"]) + mean
        return DecoderOutput(sample=sample) if return_dict else (sample,)
