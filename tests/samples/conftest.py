"""What the tests of samples borrow from other rooms."""

from tests.api.conftest import as_caller
from tests.usage.conftest import make_record

__all__ = ["as_caller", "make_record"]
