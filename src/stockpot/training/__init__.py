"""Train one shard, alone, from the pinned base, to one ingredient.

No other shard's data, weights or latents are read. Every random draw follows from the training
fields and the data, so a training that is interrupted and resumed ends in the same bytes.

    run            the verb, from RunSpec to RunResult
    load_method    training methods by name, built in and of other packages
    methods        the contract of a method, and FineTune
    plugin_method  methods of other packages, with their answers checked
    optimizer      the optimizer's options; the learning rate of a step
    latent_cache   latents and text embeddings, computed once
    sampling_plan  the records, noise and timesteps of a batch
    loop           the training loop
    checkpoint     the state of an interrupted run, for its next attempt
    publish        rounding, and the finished ingredient
"""

import os

# Set before huggingface_hub is imported, which reads them once. All inputs are in the store: a
# missing one is an error at once, never a time-out of a connection.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# cuBLAS is deterministic only with a workspace of fixed size.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
