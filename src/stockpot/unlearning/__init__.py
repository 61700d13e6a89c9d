"""Forget a shard: remove what was made from it, and sign what was done. No torch.

purge       the verb that removes; `inventory` is its record
sign        the verb that writes the receipt, next in the soup's `chain`
rotate      how one signing key hands over to the next; `rotation` is its form
anchors     where the chain's heads are kept outside of the store
commitments what is said of records that no receipt may name
statement   what a receipt says; `envelope` signs it, `keys` makes and reads the key
"""
