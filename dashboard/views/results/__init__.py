"""Sections of the page Results."""
