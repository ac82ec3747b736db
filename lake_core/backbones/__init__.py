"""Open a vision-language model and read its neurons; the only room that runs the network."""
