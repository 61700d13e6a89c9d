"""Make the soup of a recipe: the exact weighted mean of its ingredients. No torch.

`formats` knows the floating-point formats, `mean` the arithmetic, `parts` reads ingredients while
it checks them, `run` is the verb.
"""
