"""The decisions can be found by what they are about."""

import re
from collections import Counter

from webapp.foundation.paths import REPOSITORY

ENTRY = re.compile(r"^## (\d+)\. ", re.MULTILINE)
ROW = re.compile(r"^\| [^|]+ \| ([\d, ]+) \|$", re.MULTILINE)


def test_each_decision_stands_once_in_the_list_at_the_top() -> None:
    text = (REPOSITORY / "DECISIONS.md").read_text()
    head = text[: text.index("\n## ")]
    listed = [int(number) for row in ROW.findall(head) for number in row.split(",")]
    entries = [int(number) for number in ENTRY.findall(text)]
    assert entries == list(range(1, len(entries) + 1))
    assert Counter(listed) == Counter(entries)
