"""Functions from a point on or near the body to density and colour."""
