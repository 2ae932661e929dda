FORMAT_VERSION = 1
"""Part of the cache's key: raised when a change elsewhere makes older demo checkpoints wrong."""
