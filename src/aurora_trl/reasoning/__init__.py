"""Chains of thought and reflective paths: who writes them (annotators) and how they are stored."""
