"""Parts of which models are made."""
