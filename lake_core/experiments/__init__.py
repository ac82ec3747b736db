"""Does the finding hold? Each experiment takes a fitted detector and returns a typed result with its control."""
