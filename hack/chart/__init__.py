"""What is made from the chart (``make chart``): its schema, its README, the manifests."""
