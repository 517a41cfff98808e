"""Smaller files out of one artifact, and the proof of what that cost."""
