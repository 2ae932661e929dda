"""The ways in: each decodes to items, asks the data plane, and encodes the outcome; none knows a model."""
