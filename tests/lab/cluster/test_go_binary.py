"""Constants in Go programs: found by the function that holds them, refused where there is any doubt.

The programs are made here, out of the few tables that matter; none of them could run.
"""

from __future__ import annotations

import dataclasses
import struct
import subprocess
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.lab.cluster.go_binary import DAY, BinaryError, find_constant
from clusterproof.lab.cluster.member import Member
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.substrates.machine import Result
from tests.fakes import FakeMachine, image

GO_1_18, GO_1_20 = 0xFFFFFFF0, 0xFFFFFFF1
TASK = "main.expireLogsTask"
BASE = 0x400000  # where the only segment is loaded
MOVABS = b"\x48\xb8"
CODE = MOVABS + struct.pack("<Q", DAY) + b"\xc3"


def program(
    functions: list[tuple[str, bytes]],
    *,
    magic: int = GO_1_20,
    pointer: int = 8,
    says_text: bool = True,
    described: int = 1,
    section: str = ".gopclntab",
    before: bytes = b"\x90" * 48,
) -> bytes:
    """Return a 64-bit ELF program with Go functions (name, code), in this order.

    ``says_text`` puts the address of the code in the table's header, as Go did up to 1.25; ``described``
    is how often the runtime's description of the program is there; ``before`` is C code ahead of Go's.
    """
    at: dict[str, int] = {}
    data = bytearray(64 + 56)

    def put(name: str, content: bytes) -> None:
        data.extend(bytes(-len(data) % 16))
        at[name] = len(data)
        data.extend(content)

    put("before", before)
    put("text", b"".join(code for _, code in functions))
    entries = list(accumulate((len(code) for _, code in functions), initial=0))
    text = BASE + at["text"]

    names = dict.fromkeys(name for name, _ in functions)
    offsets: dict[str, int] = {}
    pool = b""
    for name in ["go:buildid", *names]:
        offsets.setdefault(name, len(pool))
        pool += name.encode() + b"\0"
    header = 8 + 8 * 8
    count = len(functions)
    index = 8 * count + 4
    bodies = b"".join(
        struct.pack("<Ii36x", entry, offsets[name])
        for (name, _), entry in zip(functions, entries, strict=False)
    )
    table = b"".join(
        struct.pack("<II", entry, index + 44 * n) for n, entry in enumerate(entries[:-1])
    ) + struct.pack("<I", entries[-1])
    functions_at = header + len(pool)
    put(
        "pclntab",
        struct.pack("<I2xBB", magic, 1, pointer)
        + struct.pack(
            "<8Q", count, 0, text if says_text else 0, header,
            functions_at, functions_at, functions_at, functions_at,
        )
        + pool + table + bodies,
    )  # fmt: skip
    quads = [0] * 40
    quads[0], quads[1] = BASE + at["pclntab"], BASE + at["pclntab"] + header
    quads[16] = BASE + at["pclntab"] + functions_at
    quads[20] = quads[22] = text
    put("module", b"".join(struct.pack("<40Q", *(q + n if i == 22 else q for i, q in enumerate(quads)))
                           for n in range(described)) or bytes(8))  # fmt: skip
    put("end", b"")

    sections = [
        ("", 0, 0, 0),
        (".text", 1, at["before"], at["pclntab"]),
        (section, 1, at["pclntab"], at["module"]),
        (".go.module", 1, at["module"], at["end"]),
        (".bss", 8, at["end"], at["end"] + 4096),
        (".shstrtab", 3, 0, 0),
    ]
    strings = b"\0".join(name.encode() for name, *_ in sections) + b"\0"
    put("strings", strings)
    data.extend(bytes(-len(data) % 8))
    headers = len(data)
    place = 0
    for name, kind, begin, end in sections:
        if name == ".shstrtab":
            begin, end = at["strings"], at["strings"] + len(strings)  # noqa: PLW2901
        data += struct.pack("<IIQQQQIIQQ", place, kind, 0, BASE + begin, begin, end - begin, 0, 0, 0, 0)
        place += len(name) + 1
    data[0:64] = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, text, 64, headers,
        0, 64, 56, 1, 64, len(sections), len(sections) - 1,
    )  # fmt: skip
    data[64:120] = struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, headers, headers, 4096)
    return bytes(data)


@pytest.mark.parametrize(("magic", "says_text"), [(GO_1_18, True), (GO_1_20, True), (GO_1_20, False)])
def test_found_in_every_known_kind_of_table(magic, says_text):
    made = program(
        [("main.a", b"\xc3"), (TASK, CODE), ("main.z", b"\x90\xc3")], magic=magic, says_text=says_text
    )
    place = find_constant(made, TASK, DAY)
    assert made[place - 2 : place + 8] == CODE[:10]


def test_the_same_constant_elsewhere_is_none_of_it():
    """Not in a neighbour, nor in a closure, nor half in the function after."""
    halves = MOVABS + struct.pack("<Q", DAY)[:4], struct.pack("<Q", DAY)[4:] + b"\xc3"
    for neighbours in (
        [("main.a", CODE), (TASK, b"\xc3"), (f"{TASK}.func1", CODE)],
        [(TASK, halves[0]), ("main.z", halves[1])],
        [("main.a", halves[0]), (TASK, halves[1])],
    ):
        with pytest.raises(BinaryError, match="does not hold the constant 86400000000000"):
            find_constant(program(neighbours), TASK, DAY)


@pytest.mark.parametrize("section", [".gopclntab", ".data.rel.ro.gopclntab"])
def test_the_last_function_ends_where_the_table_says(section):
    made = program([("main.a", b"\xc3"), (TASK, CODE)], section=section)
    assert made[find_constant(made, TASK, DAY) :].startswith(struct.pack("<Q", DAY))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (b"", "not a 64-bit little-endian ELF program"),
        (b"#!/bin/sh\nexec lxd\n", "begins with b'#!/bin'"),
        (program([(TASK, CODE)], section=".rodata"), "has 0 tables of Go functions"),
        (program([(TASK, CODE)], magic=0xFFFFFFFB), "unknown format .0xfffffffb"),
        (program([(TASK, CODE)], pointer=4), "pointers of 4 bytes"),
        (program([("main.a", CODE)]), f"has 0 Go functions called {TASK}, not one"),
        (program([("xmain.expireLogsTask", CODE)]), "has 0 Go functions"),
        (program([(f"{TASK}2", CODE)]), "has 0 Go functions"),
        (program([(TASK, CODE), (TASK, CODE)]), "has 2 Go functions"),
        (program([(TASK, CODE + CODE)]), "holds the constant 86400000000000 more than once"),
        (program([(TASK, CODE)], described=0), "has 0 start addresses"),
        (program([(TASK, CODE)], described=2), "has 2 start addresses"),
    ],
)
def test_refused_where_there_is_doubt(made, words):
    with pytest.raises(BinaryError, match=words):
        find_constant(made, TASK, DAY)


names = st.text("abcXYZ.()*0", min_size=1, max_size=12).map(lambda text: f"main.{text}")
code = st.binary(max_size=40)


@given(
    st.dictionaries(names, code, max_size=12),
    st.dictionaries(names, code, max_size=12),
    st.tuples(code, code),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=100),
)
def test_found_wherever_it_is(ahead, behind, around, value, before):
    head, tail = around
    wanted = struct.pack("<Q", value)
    body = head + wanted + tail
    functions = [*ahead.items(), (TASK, body), *((n, c) for n, c in behind.items() if n not in ahead)]
    made = program(functions, before=before)
    if body.count(wanted) == 1 and body.find(wanted, body.find(wanted) + 1) < 0:
        place = find_constant(made, TASK, value)
        assert made[place : place + 8] == wanted
        assert made[place - len(head) : place + 8 + len(tail)] == body
    else:
        with pytest.raises(BinaryError, match="more than once"):
            find_constant(made, TASK, value)


WHOLE = program([("main.a", b"\xc3"), (TASK, CODE)])


# Of the last section's description (64 bytes) the end is not needed.
@given(st.integers(0, len(WHOLE) - 64))
def test_a_part_of_a_program_is_refused(length):
    with pytest.raises(BinaryError):
        find_constant(WHOLE[:length], TASK, DAY)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_program_is_refused_or_gives_a_place_that_holds_the_constant(changes):
    damaged = bytearray(WHOLE)
    for place, byte in changes:
        damaged[place] = byte
    try:
        found = find_constant(bytes(damaged), TASK, DAY)
    except BinaryError:
        pass
    else:
        assert damaged[found : found + 8] == struct.pack("<Q", DAY)


# On a member


@pytest.fixture
def daemon(tmp_path):
    path = tmp_path / "incusd"
    path.write_bytes(WHOLE)
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(daemon) -> FakeMachine:
    made = image()
    facts = made.facts.model_copy(update={"daemon": str(daemon)})
    machine = FakeMachine("cp-r1-m1", dataclasses.replace(made, facts=facts, digest=str(daemon)))
    machine.files[str(daemon)] = daemon.read_bytes()
    machine.start()
    return machine


def shell(argv: list[str], _: object) -> Result:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10)
    return Result(done.returncode, done.stdout, done.stderr)


def test_a_shorter_interval_changes_eight_bytes_and_says_so(machine, daemon, tmp_path):
    machine.answers = [("", shell)]
    transcript = Transcript(tmp_path / "transcript.jsonl")
    Member("m1", machine, transcript).daemon.run_daily_task_every(TASK, 5)
    transcript.flush()
    place = find_constant(WHOLE, TASK, DAY)
    assert daemon.read_bytes() == WHOLE[:place] + struct.pack("<Q", 5 * 10**9) + WHOLE[place + 8 :]
    assert daemon.stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in tmp_path.iterdir()) == ["incusd", "transcript.jsonl"]
    told = (tmp_path / "transcript.jsonl").read_text()
    assert f"accelerated: {TASK} runs every 5 s instead of every 24 h" in told
    assert f'"offset": {place}' in told


def test_the_binary_is_searched_once_for_all_members_of_an_image(machine, daemon):
    machine.answers = [("", shell)]
    Member("m1", machine, Transcript()).daemon.run_daily_task_every(TASK, 5)
    other = FakeMachine("cp-r1-m2", machine.image)
    other.start()
    other.answers = [("", shell)]
    Member("m2", other, Transcript()).daemon.run_daily_task_every(TASK, 7)
    place = find_constant(WHOLE, TASK, DAY)
    assert daemon.read_bytes()[place:].startswith(struct.pack("<Q", 7 * 10**9))


def test_a_binary_in_doubt_is_left_alone(machine, daemon):
    machine.files[str(daemon)] = program([("main.a", CODE)])
    with pytest.raises(BinaryError, match=f"has 0 Go functions called {TASK}"):
        Member("m1", machine, Transcript()).daemon.run_daily_task_every(TASK, 5)
    assert machine.commands == []


def test_a_binary_that_cannot_be_written_is_the_labs_fault(machine):
    machine.answers = [("dd of=", Result(1, "", "cp: No space left on device\n"))]
    with pytest.raises(LabError, match=r"m1: cannot change \S+: cp: No space left on device"):
        Member("m1", machine, Transcript()).daemon.run_daily_task_every(TASK, 5)
