"""One function per command, loaded when the command is called."""
