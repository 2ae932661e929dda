"""The local stack (``make run``): the same gateway and predictors as in a cluster, as plain processes.

``plan`` decides what to run, ``files`` what is written under .local/, ``child`` is one process, ``stack``
brings all up and down in order, ``progress`` and ``hints`` are what a person reads.
"""
