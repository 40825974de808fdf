"""Prefect at the rim: scheduled and ad-hoc runs of the same verbs that the command line calls."""

import os

# Prefect reads its settings when it is imported, so they stand here, before any flow imports it.
# The temporary server of a run without PREFECT_API_URL needs more than its default 20 s on a busy machine.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
# For a run from the shell; on a worker Prefect has read it already, so there prefect.yaml sets it.
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "cardioclarity")
os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
# A hospital's server tells nobody that it runs.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
