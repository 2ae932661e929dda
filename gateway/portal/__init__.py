"""The gateway's own pages, behind the same Envoy: readiness, catalogue, one OpenAPI document."""
