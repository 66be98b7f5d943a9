"""How VMs run on this computer: with KVM where a kernel really boots with it, else by emulation.

The presence of /dev/kvm proves nothing: on a computer that is itself a VM it may exist and hang.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.processes import Process
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.images.rootfs import RootfsImage
from clusterproof.lab.substrates import qemu

# images/vm/init prints this before anything else.
ALIVE = b"clusterproof: the machine runs"
# Seconds until the kernel has to be up.
LIMITS = {"kvm": 10.0, "tcg": 90.0}
KVM = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def known() -> str | None:
    """Return the accelerator that was found last, without booting anything; None where none was tried yet."""
    found = _read()
    return next(iter(found.values()), None)


def chosen(image: RootfsImage) -> str:
    """Return ``kvm`` or ``tcg`` (QEMU's emulation), whichever boots the kernel of ``image``.

    The result is kept until this computer is rebooted or QEMU changes. Raises LabError where neither boots it.
    """
    key = _key(image)
    with runs.lock("acceleration"):
        found = _read()
        if key not in found:
            # Results of an earlier boot of this computer, or of another QEMU, do not count any more.
            same = {k: v for k, v in found.items() if k.partition(":")[0] == key.partition(":")[0]}
            found = {**same, key: _probe(image)}
            partial = _path().with_suffix(".part")
            partial.write_text(json.dumps(found))
            partial.replace(_path())
        return found[key]


def _path() -> Path:
    return runs.folder() / "acceleration.json"


def _read() -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(_path().read_text())
    except (OSError, ValueError):
        return {}
    return found


def version() -> str:
    """Return QEMU's version. Raises LabError where it is not installed."""
    if missing := qemu.missing_tools():
        raise LabError(f"virtual machines need {', '.join(missing)}; run lab/bootstrap --vm")
    done = subprocess.run([qemu.BINARY, "--version"], capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.partition("\n")[0].removeprefix("QEMU emulator version ").strip()


def _key(image: RootfsImage) -> str:
    boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
    here = hashlib.sha256(f"{boot} {version()} {os.access(KVM, os.W_OK)}".encode()).hexdigest()
    return f"{here}:{image.digest}"


def _probe(image: RootfsImage) -> str:
    tried = []
    for accelerator in ("kvm", "tcg"):
        if accelerator == "kvm" and not os.access(KVM, os.R_OK | os.W_OK):
            tried.append(f"kvm: {KVM} cannot be used")
            continue
        why = why_not(image, accelerator)
        if why is None:
            return accelerator
        tried.append(f"{accelerator}: {why}")
    raise LabError(f"no VM boots on this computer with QEMU {version()}: {'; '.join(tried)}")


def why_not(image: RootfsImage, accelerator: str) -> str | None:
    """Boot only the kernel of ``image``; return why that failed, None where it succeeded."""
    with tempfile.TemporaryDirectory(prefix="clusterproof-") as name:
        folder = Path(name)
        vm = qemu.Qemu(Process(folder, "probe"), folder)
        spec = qemu.Spec(
            image.kernel, image.initrd, "console=ttyS0 quiet panic=1 probe", accelerator, memory=256, cpus=1
        )
        console = folder / "console.log"
        try:
            vm.start(spec)
            eventually(
                lambda: _alive(console) or not vm.running(),
                within=LIMITS[accelerator],
                what="the kernel comes up",
            )
            if _alive(console):
                return None
            return f"it ended: {vm.why_ended()}"
        except NotObservedError:
            return f"the kernel did not come up within {LIMITS[accelerator]:g} s"
        except LabError as error:
            return str(error)
        finally:
            vm.process.end()


def _alive(console: Path) -> bool:
    return console.exists() and ALIVE in console.read_bytes()
