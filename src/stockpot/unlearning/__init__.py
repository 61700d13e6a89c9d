"""Forget a shard: remove what was made from it, and sign what was done. No torch.

purge       the verb that removes; `inventory` is its record
sign        the verb that writes the receipt, next in the soup's `chain`
statement   what a receipt says; `envelope` signs it, `keys` makes and reads the key
"""
