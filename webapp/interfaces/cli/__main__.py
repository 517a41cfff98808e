"""`python -m webapp.interfaces.cli` is `modelyard`."""

from webapp.interfaces.cli.main import main

if __name__ == "__main__":
    main()
