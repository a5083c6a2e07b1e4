"""Human avatars from captured people, as a nerfstudio plugin."""
