"""Constants in a product's own binary: found by the name of the Go function that uses them, not by an offset.

Every Go program, stripped or not, has a table of its functions (pclntab), because stack traces need it. With it
the code of a function can be found by name in any build.
See ``src/runtime/symtab.go`` (pcHeader, moduledata) and ``src/internal/abi/symtab.go`` of Go.
"""

from __future__ import annotations

import struct
from io import BytesIO

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from clusterproof.lab.core.errors import LabError

DAY = 86_400_000_000_000  # nanoseconds

# The tables of Go 1.18 and of Go 1.20 and later, which do not differ in what is read here.
_MAGICS = (0xFFFFFFF0, 0xFFFFFFF1)
_HEADER = struct.Struct("<I2xBB8Q")
_QUADS = struct.Struct("<23Q")


class BinaryError(LabError):
    """The constant cannot be identified in the binary without doubt."""


def find_constant(binary: bytes, function: str, value: int) -> int:
    """Return the offset in ``binary`` of the 8-byte constant ``value`` in the Go function ``function``.

    Raises BinaryError unless exactly one function has that name and holds exactly one such constant.
    """
    try:
        begin, end = _code(binary, _elf(binary), function)
    except (ELFError, struct.error, LookupError, ValueError, OverflowError) as error:
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
            f"Go function {function} holds the constant {value} more than once; "
            "read what it does in this build before its scenario can be run on it"
        )
    return first


def _elf(data: bytes) -> ELFFile:
    """Return the ELF file. Raises BinaryError, or ELFError where it is damaged."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise BinaryError(f"not a 64-bit little-endian ELF program: it begins with {data[:6]!r}")
    return ELFFile(BytesIO(data))


def _code(data: bytes, elf: ELFFile, function: str) -> tuple[int, int]:
    """Return the offsets in the file at which the code of ``function`` begins and ends."""
    found = [section for section in elf.iter_sections() if section.name.endswith(".gopclntab")]
    if len(found) != 1:
        raise BinaryError(f"the binary has {len(found)} tables of Go functions (section .gopclntab), not one")
    table = found[0]["sh_offset"]
    magic, _, pointer, count, _, _, names, units, _, _, functions = _HEADER.unpack_from(data, table)
    if magic not in _MAGICS or pointer != 8:  # noqa: PLR2004 - bytes of a 64-bit pointer
        raise BinaryError(
            f"the table of Go functions has an unknown format ({magic:#x}, pointers of {pointer} bytes); "
            "lab/cluster/go_binary.py does not support this version of Go yet"
        )
    text = _text_address(data, elf, found[0]["sh_addr"], names, functions)
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
            f"the binary has {0 if name < 0 else len(bodies)} Go functions called {function}, not one; "
            "look up what it is called in this build"
        )
    ((entry, after),) = bodies
    begin = next(elf.address_offsets(text + entry), None)
    if begin is None:
        raise BinaryError(f"no segment of the binary is loaded at {text + entry:#x}")
    return begin, begin + after - entry


def _text_address(data: bytes, elf: ELFFile, table: int, names: int, functions: int) -> int:
    """Return the address that the entries of the table at address ``table`` are relative to.

    Since Go 1.26 the table's header does not have it any more, so it is read from the runtime's description of
    the program (moduledata), which is identified by its pointers to the table and into it.
    """
    found = set()
    pointers = struct.pack("<QQ", table, table + names)
    for section in elf.iter_sections():
        if section["sh_type"] == "SHT_NOBITS":
            continue
        end = section["sh_offset"] + section["sh_size"]
        place = data.find(pointers, section["sh_offset"], end)
        while 0 <= place <= end - _QUADS.size:
            quads = _QUADS.unpack_from(data, place)
            if quads[16] == table + functions:
                found.add(quads[22])
            place = data.find(pointers, place + 8, end)
    if len(found) != 1:
        raise BinaryError(
            f"the binary has {len(found)} start addresses of the Go functions' code, not one; "
            "lab/cluster/go_binary.py does not support position-independent programs yet"
        )
    return int(found.pop())
