"""The tables: Delta Lake, staged by workers and committed once by the driver."""
