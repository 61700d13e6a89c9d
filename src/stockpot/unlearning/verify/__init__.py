"""Check a soup's receipts with a public key and the right to read its store, and nothing else.

verdict       the four words that a check ends with
verifying     all checks of one soup, in order
heads         whether the chain is whole, against a head that somebody kept
witnesses     whether it is still the chain that others saw: an anchor, servers, revisions
records       tombstone, inventory, times, servers: what a receipt claims, and what lies there
absence       that nothing of a shard lies in the store, by a full listing
opened        which receipt means a record, for whoever kept its opening
composition   that what serves is the mean of the survivors' ingredients, bit by bit
live          what a running server says of itself
soups         which soups have receipts

What cannot be known here is said to be so; it is never taken for proven.
"""
