"""An engine that Modelyard does not know: all of it is in this folder, and a test registers it with one line."""
