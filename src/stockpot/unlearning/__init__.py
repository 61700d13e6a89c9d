"""Unlearning: removes everything made from a shard, and signs a receipt of it. Without torch.

purge       the verb that removes; `inventory` records it, `rescan` removes what reappears
sign        the verb that writes the receipt, as the next entry of the soup's `chain`
rotate      hands a chain over from one signing key to the next; `rotation` is that entry's format
anchors     stores heads of chains outside of the store
commitments salted commitments to records, which no receipt may name
statement   the format of a receipt (`in_toto`); `envelope` signs it, `keys` reads the key
verify      checks receipts
"""
