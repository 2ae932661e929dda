"""The gateway's own pages, behind the same Envoy: for now whether it and its models are ready."""
