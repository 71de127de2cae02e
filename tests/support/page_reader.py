"""Reads a report as a browser does."""

from html.parser import HTMLParser

VOID = {"br", "hr", "img", "input", "link", "meta", "col"}


class Page(HTMLParser):
    """Checks that tags are balanced; collects text, tables and resources."""

    def __init__(self, html):
        super().__init__()
        self.open, self.text, self.resources, self.tags = [], [], [], set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.resources += [v for k, v in attributes if k in ("src", "href", "xlink:href", "srcset")]

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())
