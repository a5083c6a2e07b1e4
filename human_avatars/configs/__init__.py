"""The method and data parser specifications that nerfstudio discovers."""
