"""One file per method, on a shared base."""
