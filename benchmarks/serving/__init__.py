"""What the running service costs, remembers and knows: speed, memory, freshness, replay."""
