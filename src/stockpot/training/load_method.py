"""Look a training method up by name: built in, or of another package by its entry point.

The entry point, in the group `stockpot.training`, is a callable that takes the options and returns
a `Method`.
"""

from collections.abc import Callable, Mapping

from stockpot.api.options import METHODS
from stockpot.api.training import Named
from stockpot.extensions import declared, load_plugin, refuse
from stockpot.training.methods import FineTune, Method
from stockpot.training.plugin_method import PluginMethod

BUILT_IN: Mapping[str, Callable[[], Method]] = {"FineTune": FineTune}


def load_method(named: Named) -> Method:
    """Make the method of that name, with its options.

    Raises:
        Refused: (BAD_RUN_SPEC) The name or an option is unknown, or the package breaks on being
            loaded.
    """
    refuse(METHODS.complaints(named, declared(METHODS)))
    if named.name in BUILT_IN:
        return BUILT_IN[named.name]()
    return PluginMethod(
        load_plugin(
            METHODS,
            named,
            lambda factory: factory(named.options),
            needs=("trainable", "loss", "publish"),
        )
    )
