"""`python -m webapp.cli` is `modelyard`."""

from webapp.cli.main import main

if __name__ == "__main__":
    main()
