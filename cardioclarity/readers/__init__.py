"""Readers of ECG files: found by name, imported when first used."""
