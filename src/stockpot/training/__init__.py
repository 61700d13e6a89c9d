"""The train verb: one shard, alone, from the pinned base, to one ingredient.

Nothing here sees another shard's data, weights or latents. Every random draw follows from the
training fields and the data, so a training that was cut off and resumed ends in the same bytes.

    run         the verb, from RunSpec to RunResult
    optimizing  what the optimiser's options mean; the learning rate of a step
    methods     what is trained and how the loss is made: an open registry
    encode      latents and text embeddings, computed once
    draws       which records, noise and timesteps a step has
    loop        the loop
    checkpoint  what a cut-off run leaves for its next attempt
    publish     rounding once, and the finished ingredient
"""

import os

# Before any library of the hub is imported, as it reads them once. A run is told where everything
# lies: what is missing is an error at once, never a time-out of a connection.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# cuBLAS gives the same sums again only with a workspace of fixed size.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
