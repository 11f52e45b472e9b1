"""Scoring an encoder: retrieval in five directions, zero-shot prediction, and the report that shows both."""
