<<<<<<< HEAD
"""Models, artifacts (one concrete set of weight files) and their copies on hosts."""
=======
"""Models, artifacts and what their files say about themselves."""
>>>>>>> engines
