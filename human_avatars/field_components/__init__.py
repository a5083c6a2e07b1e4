"""Parts of which fields are made."""
