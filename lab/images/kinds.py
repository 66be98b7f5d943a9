"""What an image is for, a container or a VM: the files it is made from and of, and how it is packed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

# Bytes of a VM's first disk, which is sparse.
DISK = 6 * 1024**3


@dataclass(frozen=True)
class Kind(ABC):
    """``name`` is a folder of ``lab/images``, and ``folders`` are all that decide what an image holds.

    ``large`` is the file that is the image, with ``others`` beside it.
    """

    name: str
    folders: tuple[str, ...]
    large: str
    others: tuple[str, ...]

    @abstractmethod
    def pack(self, root: Path, into: Path) -> list[list[str]]:
        """Return the commands that make the files of an image in the folder ``into`` from ``root``."""

    @abstractmethod
    def unpack(self, file: Path, image: Path, root: Path) -> list[str]:
        """Return the command that unpacks ``file`` into ``root``, which must not be there.

        ``file`` is of the kind of ``large``, and ``image`` is the folder of the image that it was made from.
        """


class _Container(Kind):
    def pack(self, root: Path, into: Path) -> list[list[str]]:
        """Make a squashfs."""
        options = ["-comp", "zstd", "-Xcompression-level", "3", "-noappend", "-no-progress", "-quiet"]
        return [["mksquashfs", str(root), str(into / self.large), *options]]

    def unpack(self, file: Path, image: Path, root: Path) -> list[str]:  # noqa: ARG002 - it has all in one file
        """Unpack a squashfs."""
        return ["unsquashfs", "-quiet", "-no-progress", "-dest", str(root), str(file)]


# Copies what is on the disk $1 into the new folder $2. $3 and $4 are the kernel and the initrd that boot it,
# which are put where ``customise`` and packing look for them.
_UNPACK_DISK = """
mkdir "$2" "$2.disk"
mount -o loop,ro "$1" "$2.disk"
cp --archive "$2.disk/." "$2"
umount "$2.disk"
rmdir "$2.disk"
version=$(ls "$2/lib/modules" | sort -V | tail -n 1)
cp "$3" "$2/boot/vmlinuz-$version"
cp "$3" "$2/boot/vmlinuz"
cp "$4" "$2/boot/initrd"
"""


class _VM(Kind):
    def pack(self, root: Path, into: Path) -> list[list[str]]:
        """Make a sparse disk; kernel and initrd leave ``boot`` for a place beside it."""
        boot = root / "boot"
        options = ["-q", "-t", "ext4", "-L", "root", "-m", "0", "-O", "^has_journal", "-d", str(root)]
        return [
            ["mv", str(boot / "vmlinuz"), str(boot / "initrd"), str(into)],
            ["find", str(boot), "-mindepth", "1", "-delete"],
            ["truncate", f"--size={DISK}", str(into / self.large)],
            ["mke2fs", *options, str(into / self.large)],
        ]

    def unpack(self, file: Path, image: Path, root: Path) -> list[str]:
        """Copy what is on a disk."""
        boots = [str(image / name) for name in self.others]
        return ["sh", "-euc", _UNPACK_DISK, "sh", str(file), str(root), *boots]


CONTAINER: Kind = _Container("container", ("container", "tiny"), "rootfs.squashfs", ("metadata.tar",))
VM: Kind = _VM("vm", ("container", "tiny", "vm"), "root.img", ("vmlinuz", "initrd"))
