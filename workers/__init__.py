"""Modelyard's workers: the only code with hands on Docker."""
