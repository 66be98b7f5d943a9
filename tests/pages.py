"""What tests of pages share: a page's tags and words, hostile texts, and a walk along all links."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

VOID = {"meta", "link", "br", "hr", "img", "input", "wbr"}
INLINE = {"a", "span", "wbr", "small", "strong", "b", "time"}

HOSTILE = [
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "<!--",
    "]]>",
    "&lt;script&gt;",
    "//evil.example/x",
    "a\x00b\x1b[31mc\u202ed",
    "../../../etc/passwd",
]

# All tags that our pages are made of.
# fmt: off
TAGS = {
    "a", "b", "body", "button", "caption", "clippath", "code", "dd", "details", "div", "dl", "dt", "em",
    "fieldset", "figcaption", "figure", "footer", "form", "g", "h1", "h2", "h3", "head", "header", "html",
    "input", "label", "legend", "li", "link", "main", "meta", "nav", "noscript", "ol", "optgroup", "option", "p",
    "path", "pre", "rect", "script", "section", "select", "small", "span", "strong", "style",
    "summary", "svg", "table", "tbody", "td", "text", "th", "thead", "time", "title", "tr", "ul", "wbr",
}
# fmt: on


class Page(HTMLParser):
    """Tags with their attributes, and text with a space where a browser begins a new line."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        if tag not in INLINE:
            self.text += " "
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & {*self._open}:
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self):
        return " ".join(self.text.split())

    @property
    def links(self):
        return [one["href"] for one in self.all("a")]

    @property
    def ids(self):
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]


def load(path):
    return Page(path.read_text(encoding="utf-8"))


def check_links(root: Path) -> int:
    """Follow every link of every page beneath ``root``; return how many there were."""
    pages = {path.resolve(): load(path) for path in root.rglob("*.html") if "evidence" not in path.parts}
    followed = 0
    for path, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), path
        for link in page.links:
            if link.startswith("https://"):
                continue
            address, _, fragment = link.partition("#")
            target = (path.parent / unquote(address)).resolve() if address else path
            assert target.is_relative_to(root.resolve()), (path, link)
            assert target.is_file(), (path, link)
            if fragment and target.name != "compare.html" and "=" not in fragment:
                assert fragment in pages[target].ids, (path, link)
            followed += 1
    return followed
