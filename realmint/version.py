"""The version of the library and of the issuer, which are released together."""

__version__ = "0.1.0"
