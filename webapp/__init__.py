"""Modelyard: what people and programs speak to, and all the data."""
