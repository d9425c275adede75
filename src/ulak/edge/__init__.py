"""Doors to the outside that do not know one another."""
