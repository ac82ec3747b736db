"""The method: select neurons, remember normal patches, score images, decompose every score."""
