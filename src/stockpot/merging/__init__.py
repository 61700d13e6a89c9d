"""The exact weighted mean of checkpoints, without torch or a cluster.

Three functions are the public API:

    merge(inputs, output)       write the mean of checkpoints
    verify(soup, inputs)        check a soup against the definition of the mean
    diff(first, second)         compare two checkpoints tensor by tensor

The operator's pods call `run`. `mean` is the arithmetic and `kernel` its compiled form, both with
their proofs. `engine` reads, averages and writes block by block; `layout` decides which checkpoints
fit; `checkpoints` and `ingredients` open what is averaged; `targets` writes the result.
`lora_fusion` folds LoRAs into their base; `lora` knows the names of their tensors.
"""

from stockpot.merging.diff import TensorDifference, diff
from stockpot.merging.soup import MergedFile, merge
from stockpot.merging.verify import verify

__all__ = ["MergedFile", "TensorDifference", "diff", "merge", "verify"]
