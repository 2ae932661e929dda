"""Training data made here from templates: no download, no licence, enough to show that everything works.

Of each list of wordings every fourth is held out: no held-out example uses a wording of the training split.
Names and words that fill the wordings are shared between the splits.
"""
