"""The Delta tables of a root: what they hold, how they change, how they are read."""
