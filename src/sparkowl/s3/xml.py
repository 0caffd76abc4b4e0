"""The XML of S3: answers and errors out, two small requests in.

Requests are parsed by the standard library with document types refused: an entity can be declared
nowhere else, so there is nothing to expand (no "billion laughs") and nothing to fetch. Their size
is bounded by whoever reads the body.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from urllib.parse import quote
from xml.etree import ElementTree as ET

from sparkowl.s3.calls import Answer
from sparkowl.s3.errors import S3Error, invalid

NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"

#: The text of an element, or the elements in it. None: no element at all.
Value = str | int | bool | datetime | None | Sequence[tuple[str, "Value"]]

_SPECIAL: Final = re.compile("[&<>\"'\x00-\x1f\x7f\ufffe\uffff]")


class _Builder(ET.TreeBuilder):
    def doctype(self, name: str, public_id: str, system_id: str) -> None:
        raise invalid("A document type is not allowed.", "MalformedXML")


def answer(root: str, content: Value, **headers: str) -> Answer:
    """An answer with a document in S3's name space."""
    return Answer(
        headers={"content-type": "application/xml", **headers},
        body=document(root, content, f' xmlns="{NAMESPACE}"'),
    )


def document(root: str, content: Value, attributes: str = "") -> bytes:
    """A whole document."""
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f"{head}<{root}{attributes}>{_content(content)}</{root}>".encode()


def _content(value: Value) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        case str() | int():
            return _SPECIAL.sub(_reference, str(value))
        case _:
            children = [(name, child) for name, child in value if child is not None]
            return "".join([f"<{name}>{_content(child)}</{name}>" for name, child in children])


def _reference(match: re.Match[str]) -> str:
    # Most control characters are no XML 1.0 even as references. S3 writes them nevertheless;
    # clients that have such keys ask for encoding-type=url.
    return f"&#{ord(match[0])};"


def url_encoded(text: str) -> str:
    """As ``encoding-type=url`` has it."""
    return quote(text, safe="/-_.~*")


def parse(body: bytes, root: str) -> ET.Element:
    """The root element, which must have that name; name spaces are taken off everywhere."""
    # Safe without defusedxml: see the module's docstring.
    parser = ET.XMLParser(target=_Builder())  # noqa: S314
    try:
        parser.feed(body)
        tree: ET.Element = parser.close()
    except (ET.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise malformed() from error
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2]
    if tree.tag != root:
        raise malformed()
    return tree


def malformed() -> S3Error:
    """S3's words for any document that is not the expected one."""
    return invalid(
        "The XML you provided was not well-formed or did not validate against our published schema",
        "MalformedXML",
    )
