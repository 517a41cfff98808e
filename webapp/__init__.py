"""Modelyard: the doors for people and programs, and all the data."""
