"""Weights of the original implementations, translated into ours."""
