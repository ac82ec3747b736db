"""What the pages ask for: results, background work, caches."""
