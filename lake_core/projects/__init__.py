"""Saved analyses: one file each that anybody can open and check, and a store of them for a server."""
