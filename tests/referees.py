"""Independent decoders, imported without the warnings of their own import."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import wfdb

__all__ = ["wfdb"]
