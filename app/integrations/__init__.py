"""Contracts of other tools, each in a package of its own."""
