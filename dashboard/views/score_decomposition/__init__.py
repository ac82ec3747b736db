"""The sections of the page Score decomposition."""
