"""The body: its shape, its pose and its motion, usable without training."""
