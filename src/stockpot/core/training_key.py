"""The training key: everything that the bytes of an ingredient depend on.

The training key names an ingredient: same key, same bytes on the same image, device kind and
thread count. An upgrade of the program changes no key; only a change of what the fields mean
does, and then TRAINING_SEMANTICS is raised.
"""

from stockpot.api.training import Training
from stockpot.core.digests import PREFIX, Digest, digest_of_json

TRAINING_SEMANTICS = 1

# Not here, because they change when or where, never what: checkpointing_steps, parallelism,
# max_attempts, gradient_checkpointing.
BYTE_FIELDS = (
    "method",
    "max_train_steps",
    "train_batch_size",
    "gradient_accumulation_steps",
    "mixed_precision",
    "publish_dtype",
    "optimizer",
    "lr_scheduler",
    "lr_warmup_steps",
    "snr_gamma",
    "ema",
    "proportion_empty_prompts",
    "resolution",
    "random_flip",
    "seed",
    "max_corrupt_percent",
)
LATER_BYTE_FIELDS = ("noise_offset", "flow_matching")
"""Fields that came later: unset, they are not part of the key, so that no key changed with them."""


def training_key(base: Digest, data: Digest, training: Training) -> Digest:
    """Return the key of training these records from this base with these settings."""
    fields = training.model_dump(mode="json", by_alias=True, include=set(BYTE_FIELDS))
    fields |= training.model_dump(
        mode="json", by_alias=True, include=set(LATER_BYTE_FIELDS), exclude_none=True
    )
    return digest_of_json(
        "training-key/1",
        {"base": base, "data": data, "semantics": TRAINING_SEMANTICS, "training": fields},
    )


def shard_seed(training: Training, data: Digest) -> int:
    """Derive a shard's random seed, in [0, 2**63), from its data and never from its UID.

    Equal data trains to equal bytes, in another store and under another name too.
    """
    named = digest_of_json("shard-seed/1", {"seed": training.seed, "data": data})
    return int(named.removeprefix(PREFIX)[:16], 16) >> 1
