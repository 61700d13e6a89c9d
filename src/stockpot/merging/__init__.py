"""Make the exact weighted mean of checkpoints. No torch, no cluster.

For anybody, three functions:

    merge(inputs, output)       write the mean of checkpoints
    verify(soup, inputs)        hold a soup against the definition of the mean
    diff(first, second)         what differs between two checkpoints

For the operator, `run` is the verb. `mean` is the arithmetic and `kernel` its compiled form, both
with their proofs; `engine` streams, `layout` decides what fits, `checkpoints` and `parts` open what
is averaged, `targets` is where it goes; `folding` makes models of LoRAs, `lora` knows their names.
"""

from stockpot.merging.diff import TensorDifference, diff
from stockpot.merging.soup import Made, merge
from stockpot.merging.verify import verify

__all__ = ["Made", "TensorDifference", "diff", "merge", "verify"]
