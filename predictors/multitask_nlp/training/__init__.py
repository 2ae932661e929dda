"""Training of multitask_nlp: data, loop, evaluation, tracking and export. Not in the image."""
