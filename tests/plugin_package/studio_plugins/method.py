"""Train the cross-attention layers alone: what words mean changes, how pictures are drawn less."""

from stockpot.training.methods import FineTune
from studio_plugins.options import CrossAttentionOptions


class CrossAttention(FineTune):  # its `loss` and `publish` fit
    def __init__(self, options):
        projections = CrossAttentionOptions(**options).projections
        self.endings = ("",) if projections == "all" else ("to_k.weight", "to_v.weight")

    def trainable(self, denoiser):
        return {
            name: parameter
            for name, parameter in denoiser.named_parameters()
            if ".attn2." in name and name.endswith(self.endings)
        }
