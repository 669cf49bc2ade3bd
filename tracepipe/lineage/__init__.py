"""From a number back to its rows: the catalogue, walks, what derives from a target, and how that is removed."""
