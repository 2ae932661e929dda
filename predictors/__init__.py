"""quintet's predictors: one folder a model, and the runtime they share."""

__version__ = "0.1.0"
