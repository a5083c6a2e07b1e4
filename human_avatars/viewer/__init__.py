"""What this package adds to nerfstudio's web viewer."""
