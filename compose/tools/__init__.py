"""The programs of the image modelyard/tools: standard library and a few pure files of ours, nothing else."""
