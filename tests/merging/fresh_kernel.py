"""Compiles the kernels from their current source, so that no stale library is tested."""

import functools
import tempfile
from pathlib import Path

from stockpot.merging import lora_fusion
from stockpot.merging.build import build, compiler
from stockpot.merging.kernel import Kernel, load


@functools.cache
def fresh_kernel() -> Kernel | None:
    """Compile and load the kernel; None without a compiler or if the processor cannot run it."""
    if compiler() is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "kernel.so"
        why = build(library)
        assert why is None, why
        return load(library)


@functools.cache
def fresh_fold() -> lora_fusion.Fold | None:
    """Compile and load the folding of LoRAs; None without a compiler."""
    if compiler() is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "lora.so"
        why = build(library, lora_fusion.SOURCE)
        assert why is None, why
        return lora_fusion.load(library)
