"""The kernel, compiled from the source as it is now: never one that was left lying about."""

import functools
import tempfile
from pathlib import Path

from stockpot.merging import lora_fusion
from stockpot.merging.build import build, compiler
from stockpot.merging.kernel import Kernel, load


@functools.cache
def fresh_kernel() -> Kernel | None:
    """Compile and load it; None where there is no compiler or the processor cannot run it."""
    if compiler() is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "kernel.so"
        why = build(library)
        assert why is None, why
        return load(library)


@functools.cache
def fresh_fold() -> lora_fusion.Fold | None:
    """Compile and load what folds; None where there is no compiler."""
    if compiler() is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "lora.so"
        why = build(library, lora_fusion.SOURCE)
        assert why is None, why
        return lora_fusion.load(library)
