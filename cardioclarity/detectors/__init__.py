"""Detectors: found by name, imported when first used."""
