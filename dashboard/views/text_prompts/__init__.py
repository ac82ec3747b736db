"""The sections of the page Text prompts."""
