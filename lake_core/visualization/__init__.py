"""Arrays to images; knows no detector."""
