"""The sections of the page Explain."""
