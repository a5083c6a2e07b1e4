"""The demo: a clothed actor filmed by virtual cameras, written in the layouts of real datasets."""
