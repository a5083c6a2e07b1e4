"""Captured people as nerfstudio datasets."""
