"""The one word in `status.state` of an object, for people, printer columns and dashboards.

A state is derived from the conditions and says nothing that they do not. A shard that is served,
one that is excluded and one that expired never have the same word.
"""

from typing import Annotated

from pydantic import StringConstraints

from stockpot.api.conditions import Explained

StateName = Annotated[str, StringConstraints(max_length=64)]
"""A state as a status has it: objects of a later version may have others."""


class ShardState(Explained):
    """The state of a DataShard."""

    PENDING = "Pending", "The operator has not started the training yet."
    QUEUED = "Queued", "The training waits for a slot, or for the queue that admits its Job."
    TRAINING = "Training", "The shard is being trained."
    TRAINED = "Trained", "The ingredient is stored, and the shard is on its way into the soup."
    HELD = "Held", "The shard is held back: by suspend or by minShards."
    INCLUDED = "Included", "The promoted revision includes the shard."
    EXCLUDED = "Excluded", "inclusion is Excluded: the shard is trained, and not in the soup."
    WEIGHTLESS = "Weightless", "The weighting gives the shard the weight 0: it is not in the soup."
    STALLED = "Stalled", "A person has to act: the condition Stalled says what to do."
    UNLEARNING = "Unlearning", "The shard was deleted or has expired, and is being unlearned."
    EXPIRED = "Expired", "The shard expired and is unlearned: its receipt is stored."


class SoupState(Explained):
    """The state of a Soup."""

    PENDING = "Pending", "No shard was ever served, and none is on its way."
    TRAINING = "Training", "Shards are being trained or compared; what is served has none of them."
    MERGING = "Merging", "The revision that should be served is being merged."
    ROLLING_OUT = "RollingOut", "Servers are starting, or still serve another revision."
    SERVING = "Serving", "What the spec asks for is served."
    HELD = "Held", "What the spec asks for is served, and other shards are held back."
    UNLEARNING = "Unlearning", "The remaining shards are served; others are still being unlearned."
    STALLED = "Stalled", "A person has to act: the condition Stalled says what to do."
    DELETING = "Deleting", "The Soup is being deleted."
