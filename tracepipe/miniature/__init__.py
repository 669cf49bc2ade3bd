"""The laptop-size world: the whole experiment with real parts in minutes."""
