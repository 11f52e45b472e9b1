"""How well an encoder does: retrieval in five directions, zero-shot labels, their intervals, and the report."""
