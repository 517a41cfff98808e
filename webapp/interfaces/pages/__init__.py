"""The dashboard's pages, one folder per subject."""
