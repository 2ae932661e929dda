"""Training of multitask_nlp: data, loop, evaluation, tracking and export. No part of the image that serves."""
