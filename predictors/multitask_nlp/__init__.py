"""Sentiment, named entities and question answering from one shared encoder, as a KServe predictor."""
