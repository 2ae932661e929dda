"""A real Kubernetes with KServe on one machine, without Docker: ``make cluster``, ``make cluster-down``.

The programs are compiled from their Go modules or come from Debian; the node lives in namespaces of its
own, so it leaves the machine as it was. docs/how-to/local-cluster.md says what is in it.
"""
