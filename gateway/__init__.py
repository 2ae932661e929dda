"""The gateway: one typed config file -> a strict Envoy in front of every model, and the portal beside it."""

__version__ = "0.1.0"
