"""Keep the committed OpenAPI file equal to the code: `python -m webapp.interfaces.api.openapi [--check]`."""

import argparse
import json
import os
import sys
from pathlib import Path

FILE = Path(__file__).with_name("openapi.json")


def current() -> str:
    """The OpenAPI description of the code as it is, as the text of the file."""
    from webapp.interfaces.api.root import api

    return json.dumps(api.get_openapi_schema(path_prefix="/api/v1/"), indent=1, sort_keys=True) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write webapp/interfaces/api/openapi.json from the code.")
    parser.add_argument("--check", action="store_true", help="only compare, and fail when the file is out of date")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    import django

    django.setup()
    text = current()
    if not options.check:
        FILE.write_text(text)
    elif not FILE.exists() or FILE.read_text() != text:
        print(
            "webapp/interfaces/api/openapi.json is out of date: "
            "run `python -m webapp.interfaces.api.openapi` and review the difference."
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
