"""Low-rank adaptation: train two small factors beside a frozen weight.

Hu et al. 2021, arXiv:2106.09685. The layers are peft's. The ingredient is the factors alone, in
diffusers' format and float32, with the scale in the second one: it needs no alpha, and merging
folds it into the base exactly.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from stockpot.api.options import ALL_LAYERS, ATTENTION, LINEAR_LAYERS, LoraOptions
from stockpot.core.seeds import hash_of_names
from stockpot.diffusion.families.port import Denoiser
from stockpot.errors import ExitCode, Refused
from stockpot.training.methods import FineTune

ATTENTION_LAYERS = (
    *("to_q", "to_k", "to_v", "to_out.0"),
    *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
)
"""The ends of the names of attention's projections, in the denoisers of all families."""
_ADAPTER = "default"
_NAMED_AT_MOST = 5


class Lora(FineTune):
    """Train a LoRA; its loss is that of `FineTune`."""

    publishes_lora = True
    freezes_weights = True

    def __init__(self, options: LoraOptions, seed: int, denoiser: str) -> None:
        """Take the options.

        Args:
            options: Rank, alpha, and which layers.
            seed: The shard's seed, from which the first factors are drawn.
            denoiser: `unet` or `transformer`: the first part of the ingredient's keys.
        """
        self._options, self._seed, self._denoiser = options, seed, denoiser
        self._alpha = options.lora_alpha or float(options.rank)

    def trainable(self, denoiser: Denoiser) -> Mapping[str, Parameter]:
        from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415 - seconds

        ranks = self._ranks(denoiser)
        config = LoraConfig(
            r=self._options.rank,
            lora_alpha=self._alpha,  # type: ignore[arg-type]
            target_modules=[*ranks],
            rank_pattern={name: rank for name, rank in ranks.items() if rank != self._options.rank},
            lora_dropout=self._options.dropout,
            use_rslora=self._options.use_rslora,
        )
        inject_adapter_in_model(config, denoiser, adapter_name=_ADAPTER)
        trained: dict[str, Parameter] = {}
        for name, layer in lora_layers(denoiser):
            for side in ("lora_A", "lora_B"):
                factor = getattr(layer, side)[_ADAPTER]
                # Whatever the frozen weights are in.
                factor.to(torch.float32)
                trained[f"{name}.{side}"] = factor.weight
            self._draw(name, trained[f"{name}.lora_A"])
            nn.init.zeros_(trained[f"{name}.lora_B"])
        return trained

    def publish(self, denoiser: Denoiser) -> Mapping[str, Tensor]:
        tensors = {}
        for name, layer in lora_layers(denoiser):
            down, up = (
                getattr(layer, side)[_ADAPTER].weight.detach() for side in ("lora_A", "lora_B")
            )
            rank = down.shape[0]
            divisor = math.sqrt(rank) if self._options.use_rslora else float(rank)
            prefix = f"{self._denoiser}.{name}"
            tensors[f"{prefix}.lora_A.weight"] = down
            tensors[f"{prefix}.lora_B.weight"] = (up.double() * self._alpha / divisor).float()
        return tensors

    def _ranks(self, denoiser: Denoiser) -> dict[str, int]:
        """Choose the layers, each with its rank."""
        wanted = self._options.target_modules
        modules = denoiser.named_modules()
        names = [name for name, layer in modules if _is_wanted(name, layer, wanted)]
        if not names:
            raise Refused(
                f"Lora's targetModules is {wanted!r}, and no layer of the denoiser is called so.",
                help=f"write {ATTENTION}, {LINEAR_LAYERS}, {ALL_LAYERS}, or ends of names with | "
                "between them, such as to_q|to_v",
                exit_code=ExitCode.BAD_RUN_SPEC,
            )
        patterns = self._options.ranks
        unused = [end for end in patterns if not any(_ends(name, end) for name in names)]
        if unused:
            raise Refused(
                "Lora's rankPattern names no layer that is trained: "
                f"{', '.join(unused[:_NAMED_AT_MOST])}.",
                help="write the end of a layer's name, such as to_q=8",
                exit_code=ExitCode.BAD_RUN_SPEC,
            )
        return {
            name: next((r for end, r in patterns.items() if _ends(name, end)), self._options.rank)
            for name in names
        }

    @torch.no_grad()
    def _draw(self, name: str, factor: Parameter) -> None:
        """Draw a first factor: Gaussian, of standard deviation 1 / rank."""
        dice = torch.Generator().manual_seed(hash_of_names(self._seed, "lora", name) >> 1)
        drawn = torch.randn(factor.shape, generator=dice) / factor.shape[0]
        factor.copy_(drawn)


def lora_layers(denoiser: Denoiser) -> Iterator[tuple[str, Any]]:
    """List peft's layers, by the name that each had before, in order of name."""
    layers = {name: layer for name, layer in denoiser.named_modules() if hasattr(layer, "lora_A")}
    return ((name, layers[name]) for name in sorted(layers))


def _is_wanted(name: str, layer: nn.Module, wanted: str) -> bool:
    if wanted == ATTENTION:
        return isinstance(layer, nn.Linear) and any(_ends(name, end) for end in ATTENTION_LAYERS)
    if wanted == LINEAR_LAYERS:
        return isinstance(layer, nn.Linear)
    if wanted == ALL_LAYERS:
        return isinstance(layer, nn.Linear | nn.Conv2d)
    ends = [end.strip() for end in wanted.split("|")]
    return isinstance(layer, nn.Linear | nn.Conv2d) and any(_ends(name, end) for end in ends)


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")
