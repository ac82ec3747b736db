"""The sections of the page Images."""
