"""The few-shot protocol at any scale."""
