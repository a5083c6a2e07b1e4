"""The human-avatars command, one file per subcommand."""
