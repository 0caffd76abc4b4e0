"""A jar with one Java class, assembled by hand: tests have no compiler."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Final

_ACCESS_PUBLIC: Final = 1
_ACCESS_SUPER: Final = 0x21
#: Java 8.
_VERSION: Final = 52
_OBJECT: Final = "Ljava/lang/Object;"
_INTERFACE: Final = "org/apache/spark/sql/api/java/UDF1"


def jar(class_name: str) -> bytes:
    """A jar with a class of this name (``owl.Echo``), a function for Spark's SQL that answers what
    it is given."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as files:
        files.writestr(class_name.replace(".", "/") + ".class", _echo(class_name.replace(".", "/")))
    return made.getvalue()


def _echo(name: str) -> bytes:
    """``public class Echo implements UDF1 { public Object call(Object x) { return x; } }``"""
    texts = [name, "java/lang/Object", _INTERFACE, "<init>", "()V", "Code", "call"]
    texts.append("(Ljava/lang/Object;)Ljava/lang/Object;")
    # What it implements, with its types, as Spark asks by reflection.
    texts += ["Signature", f"{_OBJECT}L{_INTERFACE}<{_OBJECT}{_OBJECT}>;"]
    pool = [b"\x01" + struct.pack(">H", len(text)) + text.encode() for text in texts]
    # Numbered from 1: three classes (11, 12, 13) by their names, then Object's constructor (15).
    pool += [b"\x07" + struct.pack(">H", text) for text in (1, 2, 3)]
    pool += [b"\x0c" + struct.pack(">HH", 4, 5), b"\x0a" + struct.pack(">HH", 12, 14)]
    # aload_0, invokespecial 15, return; and aload_1, areturn.
    methods = [_method(4, 5, b"\x2a\xb7\x00\x0f\xb1", 1), _method(7, 8, b"\x2b\xb0", 2)]
    return b"".join(
        [
            struct.pack(">IHHH", 0xCAFEBABE, 0, _VERSION, len(pool) + 1),
            *pool,
            struct.pack(">HHHHHHH", _ACCESS_SUPER, 11, 12, 1, 13, 0, len(methods)),
            *methods,
            struct.pack(">HHIH", 1, 9, 2, 10),
        ]
    )


def _method(name: int, kind: int, code: bytes, variables: int) -> bytes:
    body = struct.pack(">HHI", 1, variables, len(code)) + code + struct.pack(">HH", 0, 0)
    head = struct.pack(">HHHH", _ACCESS_PUBLIC, name, kind, 1)
    return head + struct.pack(">HI", 6, len(body)) + body
