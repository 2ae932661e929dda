"""What is made from the chart: its schema, its README, the manifests, and the goldens of its tests (``make chart``)."""
