"""Checks what a running server reports to serve against the receipts.

It checks the server's report; it cannot see the server's memory.
"""

import json
from collections.abc import Iterator, Sequence

import urllib3
from urllib3.exceptions import HTTPError

from stockpot.api.manifest import ArtefactKind
from stockpot.core.recipe import is_meant
from stockpot.errors import Refused
from stockpot.store.artefacts import read_manifest
from stockpot.store.keys import Keys
from stockpot.store.port import ObjectStore
from stockpot.unlearning.statement import UnlearningPredicate
from stockpot.unlearning.verify.verdict import Check, attested, failed, unknown

TIMEOUT_S = 60.0
PICTURE = {"prompt": "a", "seed": 0, "num_inference_steps": 1, "guidance_scale": 1}
"""The cheapest request that is handled like any other."""
CLAIM = "it answers from what was never made with a forgotten shard"


def check_live(
    url: str, store: ObjectStore, keys: Keys, soup_uid: str, receipts: Sequence[UnlearningPredicate]
) -> Iterator[Check]:
    """Request a picture from a server, and check the revision that the answer names."""
    about = f"the server at {url}"
    try:
        recipe_digest, weights_digest = _ask(url)
    except (HTTPError, ValueError, KeyError, TypeError) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        yield unknown(about, CLAIM, f"it gives no answer that names a revision: {why}")
        return
    by = [predicate for predicate in receipts if recipe_digest in predicate.tainted]
    if by:
        name = by[0].shard.name
        yield failed(about, CLAIM, f"it serves {recipe_digest}, removed with shard {name}")
        return
    forgotten = {predicate.shard.uid: predicate.shard.name for predicate in receipts}
    try:
        manifest = read_manifest(store, keys.revision(soup_uid, recipe_digest))
    except Refused as error:
        yield unknown(about, CLAIM, error.message)
        return
    if manifest is None or manifest.kind is not ArtefactKind.REVISION:
        yield unknown(about, CLAIM, f"the store has no revision of the recipe {recipe_digest}")
        return
    made_with = sorted(
        name
        for gone, name in forgotten.items()
        if any(is_meant(pair.shard, pair.training_key, gone) for pair in manifest.lineage)
    )
    if made_with:
        yield failed(about, CLAIM, f"it serves {recipe_digest}, made with {', '.join(made_with)}")
    elif manifest.digest != weights_digest:
        why = f"it says that its weights are {weights_digest}; the store's are {manifest.digest}"
        yield failed(about, CLAIM, why)
    else:
        last = receipts[-1].successor if receipts else None
        is_last = last is not None and last.recipe_digest == recipe_digest
        which = "the last receipt's successor" if is_last else "a later revision"
        yield attested(about, CLAIM, f"it says that {which} drew the picture: {weights_digest}")


def _ask(url: str) -> tuple[str, str]:
    answer = urllib3.request(
        "POST",
        f"{url.rstrip('/')}/v1/images/generations",
        json=PICTURE,
        timeout=TIMEOUT_S,
        retries=False,
    )
    if answer.status != 200:
        raise ValueError(f"HTTP {answer.status}")
    revision = json.loads(answer.data)["revision"]
    named = (str(revision["recipe_digest"]), str(revision["weights_digest"]))
    if answer.headers.get("X-Stockpot-Weights-Digest") != named[1]:
        raise ValueError("its header and its body name different weights")
    return named
