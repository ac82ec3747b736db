"""A whole analysis as one HTML file: what was asked, what came of it, and how far it can be trusted."""
