"""Prefect at the rim: scheduled and ad-hoc runs of the same verbs that the command line calls."""
