"""What a fit or an experiment found, as numbers and names; `lake_core.sentences` turns it into English."""
