"""Where a conversion is written: under another name until it is complete."""

import contextlib
import os
import shutil
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from keras_su.errors import KerasSuError, listing

# What a folder may hold that --force replaces: a checkpoint and what comes with one, nothing else.
_OURS = (
    "*.json", "*.txt", "*.model", "*.md", "LICENSE*", "*.safetensors", "*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.npz",
    "*.keras", "*.index", "*.meta", "*.data-*-of-*", "checkpoint", ".gitattributes", "[0-9]*_Pooling", "[0-9]*_Dense",
    "[0-9]*_Normalize",
)  # fmt: skip


def check_target(path, is_folder, force=False, source=None):
    """Refuse a target that must not be overwritten.

    Args:
        path: the target.
        is_folder: whether a folder will be written.
        force: whether an existing checkpoint may be replaced.
        source: path of the source, which stays as it is in any case.

    Raises:
        KerasSuError: with what is in the way.
    """
    path = Path(path)
    if not is_folder and path.suffix != ".keras":
        raise KerasSuError(f"--to {str(path)!r}: the name of a Keras file ends in .keras, e.g. {str(path) + '.keras'!r}.")
    if source is not None and Path(source).exists() and path.exists() and path.resolve() == Path(source).resolve():
        raise KerasSuError(f"--to {str(path)!r} is the source itself, which is never replaced. Choose another name.")
    if not path.exists():
        return
    if is_folder != path.is_dir():
        kinds = ("a folder", "a file") if is_folder else ("a file", "a folder")
        raise KerasSuError(f"--to {str(path)!r} is to become {kinds[0]}, but it is {kinds[1]}.")
    entries = sorted(entry.name for entry in path.iterdir()) if is_folder else [path.name]
    if not entries:
        return
    if not force:
        what = f"holds {listing(entries)}" if is_folder else "exists"
        raise KerasSuError(f"--to {str(path)!r} {what}. Pass --force to replace it, or choose another name.")
    if is_folder:
        foreign = [name for name in entries if not any(fnmatch(name, pattern) for pattern in _OURS)]
        around = [Path.cwd(), Path.home(), *([Path(source).resolve()] if source is not None and Path(source).exists() else [])]
        if foreign or any(path.resolve() in (other, *other.parents) for other in around):
            told = f"also holds {listing(foreign)}" if foreign else "contains the working folder, your home or the source"
            raise KerasSuError(
                f"--to {str(path)!r} {told}, so --force would delete more than a checkpoint. Choose another folder."
            )


@contextlib.contextmanager
def publishing(path, is_folder):
    """Gives a temporary path beside ``path``, which takes its place at the end, or vanishes after an exception.

    Args:
        path: the target, which may exist; it is untouched until the new one is complete.
        is_folder: whether a folder is written, which is made here, or a file.
    """
    path = Path(path).absolute()
    missing = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    try:
        temporary = room / path.name
        if is_folder:
            temporary.mkdir()
        yield temporary
        _replace(temporary, path, room / ".replaced")
    except BaseException:
        shutil.rmtree(room, ignore_errors=True)
        with contextlib.suppress(OSError):
            for parent in missing:
                parent.rmdir()
        raise
    shutil.rmtree(room, ignore_errors=True)


def _replace(new, path, aside):
    """Rename ``new`` to ``path``; what was there comes back if that fails."""
    if not path.is_dir():
        os.replace(new, path)
        return
    os.rename(path, aside)
    try:
        os.rename(new, path)
    except BaseException:
        os.rename(aside, path)
        raise
