"""The help: Markdown files in templates/help/, one per subject, turned into HTML once per process."""

import re
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from django.utils.html import escape
from django.utils.safestring import SafeString
from django.utils.text import slugify
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from webapp.foundation import paths
from webapp.foundation.text import holds

FOLDER = paths.REPOSITORY / "templates" / "help"
# The order people need them in; what is not named here follows by title.
ORDER = (
    "first-hour", "deployments", "models", "quantisation", "schedules", "hosts", "jobs", "playground",
    "keys-and-teams", "single-sign-on", "usage", "api", "command-line", "operations",
)  # fmt: skip
# Which page explains which part of the site: the section as context.site names it.
FOR_SECTION = {
    "home": "first-hour",
    "search": "first-hour",
    "playground": "playground",
    "deployments": "deployments",
    "catalog": "models",
    "quantisation": "quantisation",
    "jobs": "jobs",
    "schedules": "schedules",
    "inventory": "hosts",
    "accounts": "keys-and-teams",
    "usage": "usage",
    "settings": "operations",
}


@dataclass(frozen=True)
class Page:
    slug: str
    title: str
    summary: str
    text: str

    @property
    def html(self) -> SafeString:
        return html(self.text)


@cache
def pages() -> dict[str, Page]:
    """All help pages by slug, in the order people need them."""
    found = [_read(path) for path in FOLDER.glob("*.md")]
    found.sort(key=lambda page: (ORDER.index(page.slug) if page.slug in ORDER else len(ORDER), page.title))
    return {page.slug: page for page in found}


def find(words: Iterable[str]) -> list[Page]:
    """The pages that hold every word, those with a word in the title first."""
    wanted = list(words)
    hits = [page for page in pages().values() if holds(page.text, wanted)]
    return sorted(hits, key=lambda page: not any(holds(page.title, [word]) for word in wanted))


def slug_for(section: str) -> str:
    """The page that explains this section of the site, if it is written."""
    slug = FOR_SECTION.get(section, "")
    return slug if slug in pages() else ""


def _read(path: Path) -> Page:
    text = path.read_text()
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    after = text[title.end() :].strip() if title else text
    first = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", after.split("\n\n")[0]).replace("\n", " ")
    return Page(path.stem, title[1] if title else path.stem, first, text)


@cache
def html(text: str) -> SafeString:
    # "html" off: a tag in a help page is text. The heading of the file is the page's own heading.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("heading_open", _heading)
    parser.add_render_rule("table_open", _table)
    parser.add_render_rule("table_close", _table_end)
    body = re.sub(r"^# .+\n", "", text, count=1, flags=re.MULTILINE)
    return SafeString(parser.render(body))


def _fence(self: RendererHTML, tokens: Sequence[Token], place: int, options: Any, env: MutableMapping[str, Any]) -> str:
    """An example with a copy button, as everywhere on the site."""
    env["examples"] = name = env.get("examples", 0) + 1
    text, language = escape(tokens[place].content.rstrip()), escape(tokens[place].info.strip())
    return (
        f'<div class="code"><button type="button" class="btn btn-sm copy" data-copy="example-{name}" hidden>Copy'
        f'</button><pre id="example-{name}" data-language="{language}" tabindex="0"><code>{text}</code></pre></div>'
    )


def _heading(
    self: RendererHTML, tokens: Sequence[Token], place: int, options: Any, env: MutableMapping[str, Any]
) -> str:
    """Headings have a name, so that a colleague can be sent to one; `on-` keeps it apart from the site's own names."""
    tag = tokens[place].tag
    return f'<{tag} id="on-{escape(slugify(tokens[place + 1].content))}">'


def _table(self: RendererHTML, tokens: Sequence[Token], place: int, options: Any, env: MutableMapping[str, Any]) -> str:
    return '<div class="table-responsive"><table class="table table-sm">'


def _table_end(
    self: RendererHTML, tokens: Sequence[Token], place: int, options: Any, env: MutableMapping[str, Any]
) -> str:
    return "</table></div>"
