"""The pipeline that reports per image and per split."""
