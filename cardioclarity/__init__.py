"""Watches large ECG archives for anomalies; research use only."""
