"""The method: select neurons, remember normal patches, score images, account for every score."""
