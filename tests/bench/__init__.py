"""Figures of the README, measured. `make bench` prints them all; nothing here is a test."""
