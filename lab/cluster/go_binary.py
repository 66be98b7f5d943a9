"""Constants in a product's own binary: found by the Go function that holds them, never by an offset.

Go keeps a table of all functions in every program (pclntab), stripped or not, because a panic's stack
trace needs it. That is enough to find the code of one function by its name in any build.
See ``src/runtime/symtab.go`` (pcHeader, moduledata) and ``src/internal/abi/symtab.go`` of Go.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from clusterproof.lab.core.errors import LabError

DAY = 86_400_000_000_000  # nanoseconds

# The tables of Go 1.18 and of Go 1.20 and later; what is read here is the same in both.
_MAGICS = (0xFFFFFFF0, 0xFFFFFFF1)
_HEADER = struct.Struct("<I2xBB8Q")
_QUADS = struct.Struct("<23Q")
_SECTION = struct.Struct("<IIQQQQ")
_LOAD = 1
_NOBITS = 8


class BinaryError(LabError):
    """A binary in which what was looked for cannot be found without doubt."""


def find_constant(binary: bytes, function: str, value: int) -> int:
    """Return where in ``binary`` the 8-byte constant ``value`` of Go function ``function`` begins.

    Raises BinaryError unless there is exactly one function of that name with exactly one such constant.
    """
    try:
        begin, end = _code(_Elf(binary), function)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise BinaryError(f"the binary is cut off or damaged ({error}); bake the image again") from error
    wanted = struct.pack("<Q", value)
    first = binary.find(wanted, begin, end)
    if first < 0:
        raise BinaryError(
            f"Go function {function} does not hold the constant {value}; "
            "read what it does in this build before its scenario can be run on it"
        )
    if binary.find(wanted, first + 1, end) >= 0:
        raise BinaryError(
            f"Go function {function} holds the constant {value} more than once, so which one is meant "
            "cannot be told; read what it does in this build"
        )
    return first


@dataclass(frozen=True)
class _Section:
    name: str
    kind: int
    address: int
    offset: int
    size: int


class _Elf:
    """The parts of a 64-bit little-endian ELF file that are needed here."""

    def __init__(self, data: bytes) -> None:
        if data[:6] != b"\x7fELF\x02\x01":
            raise BinaryError(f"not a 64-bit little-endian ELF program: it begins with {data[:6]!r}")
        self.data = data
        phoff, shoff = struct.unpack_from("<QQ", data, 32)
        phsize, phnum, shsize, shnum, names = struct.unpack_from("<5H", data, 54)
        self._segments = [struct.unpack_from("<II4Q", data, phoff + n * phsize) for n in range(phnum)]
        raw = [_SECTION.unpack_from(data, shoff + n * shsize) for n in range(shnum)]
        self.sections = [
            _Section(_text(data, raw[names][4] + name), kind, address, offset, size)
            for name, kind, _, address, offset, size in raw
        ]

    def offset(self, address: int) -> int:
        """Return where in the file the byte is that is loaded at ``address``."""
        for kind, _, offset, begin, _, size in self._segments:
            if kind == _LOAD and begin <= address < begin + size:
                return int(offset + address - begin)
        raise BinaryError(f"no segment of the binary is loaded at {address:#x}")


def _code(elf: _Elf, function: str) -> tuple[int, int]:
    """Return where in the file the code of ``function`` begins and ends."""
    found = [section for section in elf.sections if section.name.endswith(".gopclntab")]
    if len(found) != 1:
        raise BinaryError(f"not one table of Go functions (section .gopclntab) but {len(found)}")
    data, table = elf.data, found[0].offset
    magic, _, pointer, count, _, _, names, units, _, _, functions = _HEADER.unpack_from(data, table)
    if magic not in _MAGICS or pointer != 8:  # noqa: PLR2004 - bytes of a 64-bit pointer
        raise BinaryError(
            f"a table of Go functions of an unknown kind ({magic:#x}, pointers of {pointer} bytes); "
            "teach lab/binary.py this version of Go"
        )
    text = _text_address(elf, found[0].address, names, functions)
    name = data.find(b"\0" + function.encode() + b"\0", table + names - 1, table + units)
    entries = [
        (entry, functions + place)
        for entry, place in struct.iter_unpack(
            "<II", data[table + functions : table + functions + 8 * count]
        )
    ]
    if len(entries) != count:
        raise BinaryError(f"the table of Go functions is cut off after {len(entries)} of {count}")
    (end,) = struct.unpack_from("<I", data, table + functions + 8 * count)
    ends = [*(entry for entry, _ in entries[1:]), end]
    wanted = name + 1 - table - names
    bodies = [
        (entry, after)
        for (entry, place), after in zip(entries, ends, strict=True)
        if struct.unpack_from("<i", data, table + place + 4)[0] == wanted
    ]
    if name < 0 or len(bodies) != 1:
        raise BinaryError(
            f"not one Go function called {function} but {0 if name < 0 else len(bodies)}; "
            "look up what it is called in this build"
        )
    ((entry, after),) = bodies
    begin = elf.offset(text + entry)
    return begin, begin + after - entry


def _text_address(elf: _Elf, table: int, names: int, functions: int) -> int:
    """Return the address that the entries of the table at address ``table`` count from.

    Go 1.26 and later no longer say it in the table's own header, so it is taken from the runtime's
    description of the program (moduledata), known by its pointers to the table and into it.
    """
    found = set()
    for section in elf.sections:
        if section.kind == _NOBITS:
            continue
        end = section.offset + section.size
        place = elf.data.find(struct.pack("<QQ", table, table + names), section.offset, end)
        while 0 <= place <= end - _QUADS.size:
            quads = _QUADS.unpack_from(elf.data, place)
            if quads[16] == table + functions:
                found.add(quads[22])
            place = elf.data.find(struct.pack("<QQ", table, table + names), place + 8, end)
    if len(found) != 1:
        raise BinaryError(
            f"where the code of the Go functions begins is said {len(found)} times and not once; "
            "position-independent programs are not known to lab/binary.py yet"
        )
    return int(found.pop())


def _text(data: bytes, begin: int) -> str:
    return data[begin : data.index(b"\0", begin)].decode()
