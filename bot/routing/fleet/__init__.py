"""A fleet of backends in virtual time, played through the very functions that route real work."""
