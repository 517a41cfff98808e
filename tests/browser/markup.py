"""Faults of a page's HTML that a browser repairs in silence.

Checked, of the text as it was sent: one doctype in front, every element closed and in the right order, no end tag
without its start, no block inside a paragraph, no nested links, buttons, labels or forms, no attribute twice, ids that
are there once, `for`, `aria-labelledby`, `aria-describedby` and `list` that name an id, `#` links that lead
somewhere, a language, a title, one h1, no level of heading left out. Not checked: the content model of every element,
values of every attribute.
"""

from html.parser import HTMLParser

VOID = frozenset(["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"])
# End tags that HTML lets one leave out are wanted here all the same: a forgotten one is a fault far more often.
BLOCKS = frozenset(
    {
        *(
            "address",
            "article",
            "aside",
            "blockquote",
            "details",
            "dialog",
            "div",
            "dl",
            "fieldset",
            "figure",
            "footer",
        ),
        *("form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "main", "nav", "ol", "p", "pre", "section"),
        *("table", "ul"),
    }
)
NOT_IN_THEMSELVES = frozenset(["a", "button", "label", "form"])
NAMES_IDS = ("for", "aria-labelledby", "aria-describedby", "aria-controls", "list")
PARENTS = {
    "li": {"ul", "ol", "menu"},
    "tr": {"tbody", "thead", "tfoot", "table"},
    "td": {"tr"},
    "th": {"tr"},
    "dt": {"dl", "div"},
    "dd": {"dl", "div"},
    "option": {"select", "datalist", "optgroup"},
    "summary": {"details"},
    "legend": {"fieldset"},
}
ONLY_INSIDE = {
    "ul": {"li", "script", "template"},
    "ol": {"li", "script", "template"},
    "tr": {"td", "th", "script", "template"},
    "dl": {"dt", "dd", "div", "script", "template"},
}


def faults(text: str) -> list[str]:
    """What is wrong with this page, with line numbers; empty when nothing was found."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader.finish(text)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.open: list[tuple[str, int]] = []
        self.ids: dict[str, int] = {}
        self.named: list[tuple[str, str, int]] = []
        self.count = {"h1": 0, "title": 0}
        self.language = ""
        self.level = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        line = self.getpos()[0]
        self._attributes(tag, attrs, line)
        self._place(tag, line)
        # A dialog stands beside the page, with headings of its own.
        if tag[:1] == "h" and tag[1:].isdecimal() and "dialog" not in self._parents():
            if int(tag[1:]) > self.level + 1:
                self.found.append(f"line {line}: <{tag}> after a heading of level {self.level}")
            self.level = int(tag[1:])
        if tag in self.count and "svg" not in self._parents():
            self.count[tag] += 1
        if tag not in VOID:
            self.open.append((tag, line))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        line = self.getpos()[0]
        self._attributes(tag, attrs, line)
        if tag not in VOID and "svg" not in self._parents():
            self.found.append(f"line {line}: <{tag}/> closes nothing in HTML")

    def handle_endtag(self, tag: str) -> None:
        line = self.getpos()[0]
        if tag in VOID:
            self.found.append(f"line {line}: </{tag}> has nothing to close")
        elif self.open and self.open[-1][0] == tag:
            self.open.pop()
        elif tag in self._parents():
            while self.open and self.open[-1][0] != tag:
                left, began = self.open.pop()
                self.found.append(f"line {began}: <{left}> is not closed before </{tag}> in line {line}")
            self.open.pop()
        else:
            self.found.append(f"line {line}: </{tag}> was never opened")

    def finish(self, text: str) -> list[str]:
        self.found += [f"line {line}: <{tag}> is never closed" for tag, line in self.open]
        if not text.lstrip().lower().startswith("<!doctype html>"):
            self.found.append("no doctype in front")
        if not self.language:
            self.found.append("<html> names no language")
        self.found += [f"{number} times <{tag}>" for tag, number in self.count.items() if number != 1]
        self.found += [
            f"line {line}: {attribute} names #{name}, which is not there"
            for attribute, name, line in self.named
            if name not in self.ids
        ]
        return self.found

    def _parents(self) -> list[str]:
        return [tag for tag, _line in self.open]

    def _attributes(self, tag: str, attrs: list[tuple[str, str | None]], line: int) -> None:
        names = [name for name, _value in attrs]
        for name in {name for name in names if names.count(name) > 1}:
            self.found.append(f"line {line}: <{tag}> has {name} twice")
        values = dict(attrs)
        if tag == "html":
            self.language = values.get("lang") or ""
        if "id" in values:
            name = values["id"] or ""
            if name in self.ids or not name or " " in name:
                self.found.append(f"line {line}: id {name!r} is there already, or is no id")
            self.ids[name] = line
        for attribute in NAMES_IDS:
            self.named += [(attribute, name, line) for name in (values.get(attribute) or "").split()]
        href = values.get("href") or ""
        if tag == "a" and href.startswith("#") and len(href) > 1:
            self.named.append(("href", href[1:], line))
        if tag == "img" and "alt" not in values:
            self.found.append(f"line {line}: <img> without alt")

    def _place(self, tag: str, line: int) -> None:
        parents = self._parents()
        if "svg" in parents:
            return
        parent = parents[-1] if parents else ""
        if tag in BLOCKS and "p" in parents[_last_barrier(parents) :]:
            self.found.append(f"line {line}: <{tag}> inside <p>")
        if tag in NOT_IN_THEMSELVES and tag in parents:
            self.found.append(f"line {line}: <{tag}> inside <{tag}>")
        if tag in PARENTS and parent not in PARENTS[tag]:
            self.found.append(f"line {line}: <{tag}> inside <{parent}>")
        if parent in ONLY_INSIDE and tag not in ONLY_INSIDE[parent]:
            self.found.append(f"line {line}: <{tag}> directly inside <{parent}>")


def _last_barrier(parents: list[str]) -> int:
    """Where the innermost element begins that takes blocks again."""
    places = [place for place, tag in enumerate(parents) if tag in ("td", "th", "button", "li", "dd", "div")]
    return places[-1] if places else 0
