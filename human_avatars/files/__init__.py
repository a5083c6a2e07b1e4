"""Reading other people's files and writing our own, safely."""
