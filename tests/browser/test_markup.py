"""The check of a page's HTML finds what it says it finds."""

import pytest

from tests.browser.markup import faults

PAGE = '<!doctype html><html lang="en"><head><title>T</title></head><body><h1>H</h1>{}</body></html>'

WRONG = {
    "never closed": "<div><span>text</div>",
    "never opened": "</section>",
    "block in a paragraph": "<p><div></div></p>",
    "id twice": '<i id="a"></i><i id="a"></i>',
    "label of nothing": '<label for="nowhere">x</label>',
    "described by nothing": '<input aria-describedby="nowhere">',
    "link to nothing": '<a href="#nowhere">x</a>',
    "attribute twice": '<i class="a" class="b"></i>',
    "nested link": '<a href="/">x <a href="/">y</a></a>',
    "row in a div": "<div><tr></tr></div>",
    "text box in a list": "<ul><div></div></ul>",
    "image without words": '<img src="x.png">',
    "second heading": "<h1>again</h1>",
    "closed void": "<br></br>",
    "self-closed div": "<div/>",
    "level of heading left out": "<h3>x</h3>",
}


@pytest.mark.parametrize("name", WRONG)
def test_it_finds(name):
    assert len(faults(PAGE.format(WRONG[name]))) >= 1


@pytest.mark.parametrize(
    "part",
    [
        '<p id="a">x <a href="#a">y</a></p>',
        "<ul><li><p>x</p></li></ul>",
        "<table><thead><tr><th>x</th></tr></thead></table>",
        '<svg><use href="#elsewhere"/></svg>',
        '<label for="b">x</label><input id="b">',
        "<h2>x</h2><h3>y</h3><h2>z</h2><dialog><h2>w</h2><h4>v</h4></dialog>",
    ],
)
def test_it_is_content_with_what_is_right(part):
    assert faults(PAGE.format(part)) == []


def test_it_wants_a_doctype_and_a_language():
    assert len(faults("<html><head><title>T</title></head><body><h1>H</h1></body></html>")) == 2
