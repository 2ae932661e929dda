"""The image with every model's demo checkpoint, for the chart's profile `demo`."""
