"""The sections of pages that have several."""
