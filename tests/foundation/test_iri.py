"""Addresses as people write them go over the wire in ASCII, or are refused in words."""

import pytest

from webapp.foundation.iri import IriError, from_header, to_uri


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://host.example/model.gguf", "https://host.example/model.gguf"),
        ("http://host/modèle.gguf", "http://host/mod%C3%A8le.gguf"),
        ("https://host.example/%E6%A8%A1/x", "https://host.example/%E6%A8%A1/x"),
        ("https://host.example/模型.gguf?größe=ü#ö", "https://host.example/%E6%A8%A1%E5%9E%8B.gguf?gr%C3%B6%C3%9Fe=%C3%BC#%C3%B6"),
        ("https://bücher.example:8443/ü", "https://xn--bcher-kva.example:8443/%C3%BC"),
        ("https://例え.テスト/", "https://xn--r8jz45g.xn--zckzah/"),
        ("https://host.example/My Model.gguf", "https://host.example/My%20Model.gguf"),
        ("https://host.example/a?q={x}|<y>^`\"", "https://host.example/a?q=%7Bx%7D%7C%3Cy%3E%5E%60%22"),
        ("https://host.example/🦙.gguf", "https://host.example/%F0%9F%A6%99.gguf"),
        ("https://[2606:4700::1111]:8/é", "https://[2606:4700::1111]:8/%C3%A9"),
        ("https://me:pä@host.example/", "https://me:p%C3%A4@host.example/"),
        ("/plain/é", "/plain/%C3%A9"),
    ],
)  # fmt: skip
def test_an_address_is_encoded_as_the_standard_says(written, sent):
    assert to_uri(written) == sent
    assert to_uri(sent) == sent


@pytest.mark.parametrize(
    ("written", "word"),
    [
        ("https://host.example/\u202efugg.ledom", "U\\+202E"),
        ("https://host.example/a\u200bb", "U\\+200B"),
        ("https://host.example/a\x00b", "U\\+0000"),
        ("https://host.example/a\r\nHost: y", "U\\+000D"),
        ("https://host.example/\ud800", "U\\+D800"),
        ("https://host.example/\ufffe", "U\\+FFFE"),
        ("https://host.example/\x85", "U\\+0085"),
        ("https://faß.example/", "xn--"),
        ("https://" + "ü" * 70 + ".example/", "no name of a host"),
        ("https://a b.example/", "no name of a host"),
        ("https://host.example\\@evil.example/", "backslash"),
        ("https://[::1/é", "is not a URL"),
        ("https://host.example:port/é", "is not a URL"),
    ],
)
def test_what_has_no_such_form_is_refused_in_words(written, word):
    with pytest.raises(IriError, match=word):
        to_uri(written)


def test_the_bytes_of_a_header_are_read_as_they_were_meant():
    assert from_header("modèle".encode().decode("latin-1")) == "modèle"
    assert from_header("mod\xe8le#x") == "mod%E8le#x"
    assert from_header("/plain") == "/plain"
