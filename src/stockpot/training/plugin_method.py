"""Training methods of other packages: call them, and check what they return.

A wrong answer is refused where it is given, with the name of the package: otherwise it would be an
error of torch's, or an ingredient that no merge accepts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from stockpot.diffusion.families.port import Denoiser
from stockpot.diffusion.objectives import Objective
from stockpot.extensions import LoadedPlugin
from stockpot.training.methods import Batch, Predict


@dataclass
class PluginMethod:
    """A training method of another package, as a `Method`.

    Its methods raise Refused (BAD_RUN_SPEC) where the package's raise, or return what the protocol
    does not allow.
    """

    loaded: LoadedPlugin
    publishes_lora: bool = False
    freezes_weights: bool = False
    _shapes: dict[str, torch.Size] = field(default_factory=dict)
    """Shapes of the base's denoiser, by key; read before the package changes its modules."""

    def trainable(self, denoiser: Denoiser) -> Mapping[str, Parameter]:
        self._shapes = {key: tensor.shape for key, tensor in denoiser.state_dict().items()}
        trained = self.loaded.call("trainable", denoiser)
        if not isinstance(trained, Mapping) or not trained:
            raise self._refused("trainable", "no mapping with at least one parameter", trained)
        owned = {id(parameter) for parameter in denoiser.parameters()}
        for name, parameter in trained.items():
            if not isinstance(parameter, Parameter) or not parameter.is_floating_point():
                raise self._refused("trainable", f"for {name!r} no float parameter", parameter)
            if id(parameter) not in owned:
                raise self.loaded.refused(
                    f"its trainable returned {name!r}, which is no parameter of the denoiser"
                )
        return trained

    def loss(self, batch: Batch, predict: Predict, objective: Objective) -> Tensor:
        loss = self.loaded.call("loss", batch, predict, objective)
        if not isinstance(loss, Tensor) or loss.dim() or not loss.is_floating_point():
            raise self._refused("loss", "no float scalar", loss)
        if not loss.requires_grad:
            raise self.loaded.refused("its loss depends on no trainable parameter")
        return loss

    def publish(self, denoiser: Denoiser) -> Mapping[str, Tensor]:
        tensors = self.loaded.call("publish", denoiser)
        if not isinstance(tensors, Mapping):
            raise self._refused("publish", "no mapping of tensors", tensors)
        for key, tensor in tensors.items():
            if not isinstance(tensor, Tensor):
                raise self._refused("publish", f"for {key!r} no tensor", tensor)
            if key not in self._shapes:
                raise self.loaded.refused(
                    f"its publish returned {key!r}, which the base's denoiser does not have"
                )
            if tensor.shape != self._shapes[key]:
                raise self.loaded.refused(
                    f"its publish returned {key} with the shape {tuple(tensor.shape)}, and the "
                    f"base's is {tuple(self._shapes[key])}"
                )
        if missing := sorted(self._shapes.keys() - tensors.keys()):
            raise self.loaded.refused(
                f"its publish left out {len(missing)} of the denoiser's tensors: {missing[0]}"
            )
        return tensors

    def _refused(self, method: str, wanted: str, answer: Any) -> Exception:
        kind = type(answer).__name__
        shape = f" of shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else ""
        return self.loaded.refused(f"its {method} returned {wanted}, but a {kind}{shape}")
