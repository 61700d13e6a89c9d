"""Weigh each shard by a power of the number of its records."""

from fractions import Fraction


class BySize:
    def __init__(self, power="1"):  # options are strings
        self.power = int(power)

    def step(self, members):
        # A Fraction or an int for each member, in their order; 0 leaves a shard out.
        return tuple(member.weight * Fraction(member.records) ** self.power for member in members)
