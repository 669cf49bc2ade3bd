"""Selection of inverted traces: several draws per row, rules that reject, and a choice among what is left."""
