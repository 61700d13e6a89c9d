"""Look a training method up by name: built in, or of another package by its entry point.

The entry point, in the group `stockpot.training`, is a callable that takes the options and returns
a `Method`.
"""

from collections.abc import Callable, Mapping

from stockpot.api.options import METHODS, LoraOptions, read_options
from stockpot.api.training import Named
from stockpot.extensions import declared, load_plugin, refuse
from stockpot.training.lora import Lora
from stockpot.training.methods import FineTune, Method
from stockpot.training.plugin_method import PluginMethod

BUILT_IN: Mapping[str, Callable[[Named, int, str], Method]] = {
    "FineTune": lambda named, seed, denoiser: FineTune(),
    "LoRA": lambda named, seed, denoiser: Lora(read_options(LoraOptions, named), seed, denoiser),
}


def load_method(named: Named, *, seed: int = 0, denoiser: str = "unet") -> Method:
    """Make the method of that name, with its options.

    Args:
        named: Name and options.
        seed: The shard's seed.
        denoiser: The component that is trained: `unet` or `transformer`.

    Raises:
        Refused: (BAD_RUN_SPEC) The name or an option is unknown, or the package breaks on being
            loaded.
    """
    refuse(METHODS.complaints(named, declared(METHODS)))
    if named.name in BUILT_IN:
        return BUILT_IN[named.name](named, seed, denoiser)
    return PluginMethod(
        load_plugin(
            METHODS,
            named,
            lambda factory: factory(named.options),
            needs=("trainable", "loss", "publish"),
        )
    )
