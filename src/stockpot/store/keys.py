"""The keys of everything in the store.

<namespace>/
    namespace.json                            which namespace of the name it is, by UID
    shards/<shard uid>/<training key>/diffusion_pytorch_model.safetensors, manifest.json
        records.jsonl                         what it was trained on
    shards/<shard uid>/runs/<request>/manifest.json, checkpoints, cached latents
    shards/<shard uid>/commitments/manifest.json, openings.json
    soups/<soup uid>/revisions/<recipe digest>/diffusion_pytorch_model.safetensors, manifest.json
        evaluation/manifest.json, evaluation.json, samples.png
    soups/<soup uid>/accumulators/<recipe digest>/sums, manifest.json     a cache
    tombstones/<shard uid>                    written before a purge, kept for ever
    inventories/<shard uid>.json              what the purge found and removed
    receipts/<soup uid>/<sequence>.dsse.json  append-only, hash-chained
    unlearned/<soup uid>/key                  what the digests of the lists beside it are keyed with
        <shard uid>.list                      keyed digests of a shard's pictures, kept for ever

Digests stand in keys as their 64 hex digits, without `sha256:`.
"""

from dataclasses import dataclass

from stockpot.core.digests import PREFIX

WEIGHTS = "diffusion_pytorch_model.safetensors"
MANIFEST = "manifest.json"
NAMESPACE_MARK = "namespace.json"
RECORD_LIST = "records.jsonl"
"""The list of the records that an ingredient was trained on."""
UNLEARNED_LIST = ".list"
"""The end of the name of a list of unlearned records."""
SUMS = "sums"
"""The sums file of an accumulator."""


@dataclass(frozen=True)
class Keys:
    """The keys of one namespace."""

    namespace: str

    @property
    def mark(self) -> str:
        """The mark that says which namespace, of all that had the name, the objects belong to."""
        return f"{self.namespace}/{NAMESPACE_MARK}"

    def shard(self, shard_uid: str) -> str:
        """The prefix of everything that was made from one shard alone, ending in a slash."""
        return f"{self.namespace}/shards/{shard_uid}/"

    def ingredient(self, shard_uid: str, training_key: str) -> str:
        """The folder of one ingredient, ending in a slash."""
        return f"{self.shard(shard_uid)}{bare(training_key)}/"

    def training_run(self, shard_uid: str, request: str) -> str:
        """The folder of what a training leaves for its next attempt, ending in a slash."""
        return f"{self.shard(shard_uid)}runs/{bare(request)}/"

    def commitments(self, shard_uid: str) -> str:
        """The folder of the salts of commitments to a shard's records, ending in a slash."""
        return f"{self.shard(shard_uid)}commitments/"

    def soup(self, soup_uid: str) -> str:
        """The prefix of everything of one soup, ending in a slash."""
        return f"{self.namespace}/soups/{soup_uid}/"

    def revision(self, soup_uid: str, recipe_digest: str) -> str:
        """The folder of one revision, ending in a slash."""
        return f"{self.soup(soup_uid)}revisions/{bare(recipe_digest)}/"

    def accumulators(self, soup_uid: str) -> str:
        """The prefix of all accumulators of a soup, ending in a slash."""
        return f"{self.soup(soup_uid)}accumulators/"

    def accumulator(self, soup_uid: str, recipe_digest: str) -> str:
        """The folder of one accumulator, ending in a slash."""
        return f"{self.accumulators(soup_uid)}{bare(recipe_digest)}/"

    def evaluation(self, soup_uid: str, recipe_digest: str) -> str:
        """The folder of a revision's figures and samples, ending in a slash."""
        return f"{self.revision(soup_uid, recipe_digest)}evaluation/"

    def tombstone(self, shard_uid: str) -> str:
        """The tombstone of a shard: nothing of the shard may be written or read any more."""
        return f"{self.namespace}/tombstones/{shard_uid}"

    def inventory(self, shard_uid: str) -> str:
        """The inventory of what a purge found and removed."""
        return f"{self.namespace}/inventories/{shard_uid}.json"

    def receipts(self, soup_uid: str) -> str:
        """The folder of a soup's receipt chain, ending in a slash."""
        return f"{self.namespace}/receipts/{soup_uid}/"

    def receipt(self, soup_uid: str, sequence: int) -> str:
        """One receipt; sequences begin at 1."""
        return f"{self.receipts(soup_uid)}{sequence:08d}.dsse.json"

    def unlearned(self, soup_uid: str) -> str:
        """The folder of what is kept of a soup's unlearned records, ending in a slash."""
        return f"{self.namespace}/unlearned/{soup_uid}/"

    def unlearned_key(self, soup_uid: str) -> str:
        """The key of a soup's keyed digests, which only the identity that purges can read."""
        return f"{self.unlearned(soup_uid)}key"

    def unlearned_list(self, soup_uid: str, shard_uid: str) -> str:
        """The keyed digests of the records that were unlearned with a shard."""
        return f"{self.unlearned(soup_uid)}{shard_uid}{UNLEARNED_LIST}"


def bare(digest: str) -> str:
    """Return a digest as it is written in keys, without `sha256:`."""
    return digest.removeprefix(PREFIX)
