"""What drives training, and the host's gaps that are filled before it starts."""
