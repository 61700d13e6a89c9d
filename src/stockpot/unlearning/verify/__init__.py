"""Verifies a soup's receipts with only a public key and read access to its store.

verdict       the four results of a check, and the report
verification  runs all checks of one soup, in order
chain_head    is the chain complete, compared with a head that was recorded elsewhere
cross_checks  is it the chain that anchors, servers and revisions have seen
records       do tombstone, inventory, times and servers match the receipt's claims
absence       is the shard gone from the store, by a full listing
disclosure    which receipt covers a record, given its opening
composition   are the served weights the mean of the remaining ingredients, bit by bit
live          what a running server reports
history       the members, receipts and revisions of a soup, for an audit
soups         which soups have receipts

What cannot be checked is reported as NotCheckable, never as proven.
"""
