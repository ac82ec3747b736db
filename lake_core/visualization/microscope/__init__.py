"""The microscope: one scored image, its neurons and its score on one screen, drawn by the browser from one payload."""
