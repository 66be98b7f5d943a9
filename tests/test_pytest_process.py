"""The process of a run: wrong options are one line, and its statuses are those of every verb."""

from __future__ import annotations

import io

import pytest

from clusterproof import pytest_process
from clusterproof.cli import pytest_arguments
from clusterproof.exit_status import ExitStatus
from clusterproof.pytest_process import _OneLine, run


@pytest.mark.parametrize(
    ("code", "status"),
    [(0, 0), (1, 1), (2, 2), (3, 70), (4, 64), (5, 64), (64, 64), (70, 70)],
)
def test_the_statuses_of_pytest(monkeypatch, code, status):
    monkeypatch.setattr(pytest, "main", lambda _: code)
    assert run([]) == status


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (OSError(28, "No space left on device", "/out/x"), 2, 'cannot use "/out/x": No space left on device; '),
        (PermissionError(13, "Permission denied", "/out/x"), 64, 'cannot use "/out/x": Permission denied; name'),
        (ZeroDivisionError("by nothing"), 70, "clusterproof itself failed: ZeroDivisionError: by nothing"),
        (KeyboardInterrupt(), 2, ""),
    ],
)
def test_what_pytest_lets_out(monkeypatch, capsys, tmp_path, error, status, says):
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(pytest, "main", fail)
    assert run([]) == status
    assert says in capsys.readouterr().err


def test_a_usage_error_of_pytest_is_one_line():
    said = io.StringIO()
    file = _OneLine(said)
    wrong = "pytest: error: unrecognized arguments: --quick"
    print(f"ERROR: usage: pytest [options]\n{wrong}\n  rootdir: /x\n", file=file)
    print("something else", file=file)
    assert said.getvalue().splitlines() == [
        f"error: unrecognized arguments: --quick; {pytest_process.HELP}",
        "something else",
    ]


@pytest.mark.parametrize("option", ["--quick", "--build-id=7", "--Build"])
def test_an_option_that_nobody_knows(option, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:cacheprovider")
    assert run(pytest_arguments([option])) == ExitStatus.USAGE
    lines = [line for line in capfd.readouterr().err.splitlines() if line]
    assert lines == [f"error: unrecognized arguments: {option}; {pytest_process.HELP}"]


@pytest.mark.parametrize("option", ["--log-file", "--alluredir"])
@pytest.mark.parametrize("at", ["file/x", "/proc/nope/x"])
def test_what_pytest_opens_as_it_starts(option, at, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert run(pytest_arguments([f"{option}={at}", "-p", "no:cacheprovider"])) == ExitStatus.USAGE
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line]
    assert line.startswith(f"ERROR: {option}: cannot use ")
    assert at in line


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (["--build", "@7.0.2"], ["--build=@7.0.2"]),
        (["--build", "incus@7.0.2", "@file"], ["--build", "incus@7.0.2", "@file"]),
        (["--build"], ["--build"]),
        (["-k", "a", "--plan"], ["-k", "a", "--plan"]),
    ],
)
def test_a_value_with_an_at_sign_is_no_file(given, passed):
    assert pytest_arguments(given)[-len(passed) :] == passed


@pytest.mark.parametrize(("given", "workers"), [(["--pdb"], "0"), (["--trace"], "0"), ([], "2")])
def test_a_debugger_has_the_terminal_for_itself(given, workers):
    arguments = pytest_arguments(given)
    assert arguments[arguments.index("-n") + 1] == workers
