"""Builds the packaged open body and its surface maps from MakeHuman's CC0 files."""
