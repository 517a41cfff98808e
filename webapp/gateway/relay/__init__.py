"""Everything that is not inference, carried to web and back."""
