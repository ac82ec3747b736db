"""Pages: one short script each, which `app.py` runs by its path."""
