"""The sections of the page Selection."""
