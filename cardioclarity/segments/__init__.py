"""The waveform store: immutable Zarr segments."""
