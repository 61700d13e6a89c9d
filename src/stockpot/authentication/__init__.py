"""How a server knows that a grant comes from its operator: keys, and signatures of grants."""
