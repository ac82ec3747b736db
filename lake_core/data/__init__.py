"""Untrusted bytes and folders to checked, labelled images."""
