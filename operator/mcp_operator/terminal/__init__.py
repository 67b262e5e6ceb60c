"""What the commands show: `cli` parses their arguments and calls this room."""
