"""Count captions that the text encoder does not read in full.

A pipeline silently cuts a caption at the tokenizer's window, and silently replaces every word that
is not in the vocabulary by one token.
"""

from collections.abc import Sequence
from typing import Any

from stockpot.api.omissions import OmissionReason
from stockpot.core.omissions import OmissionCounter
from stockpot.diffusion.record import Record

_BATCH_SIZE = 1024


def count_unread_captions(
    tokenizer: Any, records: Sequence[Record], counter: OmissionCounter
) -> None:
    """Count records whose captions are cut, or have words that the tokenizer does not know.

    Args:
        tokenizer: The family's.
        records: The records that are used.
        counter: Counts them by reason; cut captions with their number of tokens.
    """
    window = int(tokenizer.model_max_length)
    unknown = _unknown_token(tokenizer)
    captions = sorted({record.caption for record in records})
    lengths: dict[str, int] = {}
    strange: set[str] = set()
    for at in range(0, len(captions), _BATCH_SIZE):
        some = captions[at : at + _BATCH_SIZE]
        tokens = tokenizer(some, padding=False, truncation=False, verbose=False)
        for caption, ids in zip(some, tokens["input_ids"], strict=True):
            if len(ids) > window:
                lengths[caption] = len(ids)
            if unknown is not None and unknown in ids[:window]:
                strange.add(caption)
    for record in records:
        if length := lengths.get(record.caption):
            size = f"{length} tokens, of which {window} are read"
            counter.add(OmissionReason.CUT_CAPTION, f"{record.name} ({size})")
        if record.caption in strange:
            counter.add(OmissionReason.UNKNOWN_WORDS, record.name)


def _unknown_token(tokenizer: Any) -> int | None:
    """Return the token of unknown words; None where every word has its own tokens, as in CLIP."""
    unknown = tokenizer.unk_token_id
    others = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    return None if unknown in others else unknown
