"""Scores and maps against truth; arrays only."""
