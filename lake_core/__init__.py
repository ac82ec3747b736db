"""LAKE Explorer's core: numbers only."""
