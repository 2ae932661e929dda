"""From a checkpoint to the served artifact: once, before serving, with torch, which serving does without."""
