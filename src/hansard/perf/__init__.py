"""How fast it is, where the time and the memory go, and what has become slower."""
