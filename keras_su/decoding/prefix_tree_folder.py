"""Folders that appear complete or not at all, and the folder beside them in which a long build works.

``<folder>.building`` belongs to one process at a time. A killed process leaves it behind for the next build of the same folder.
"""

import contextlib
import json
import os
import shutil
import uuid

from keras_su.errors import KerasSuError

FORMAT = "keras_su prefix tree"
LOCK = "lock"


@contextlib.contextmanager
def replaced_folder(folder):
    """A new folder beside ``folder`` to write into, which takes its place when the block ends without an error.

    An existing tree is replaced; any other folder that is not empty is refused.
    """
    folder = replaceable(folder)
    fresh = f"{folder}.{uuid.uuid4().hex[:8]}.new"
    os.mkdir(fresh)
    try:
        yield fresh
        put_in_place(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def replaceable(folder):
    """The absolute path of a folder that may be written; its parent exists."""
    folder = os.path.abspath(folder)
    if os.path.exists(folder) and not (os.path.isdir(folder) and (is_tree(folder) or not os.listdir(folder))):
        raise KerasSuError(f"PrefixTree: {folder!r} exists and is not a prefix tree. Expected a new folder, or one to replace.")
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    return folder


def put_in_place(fresh, folder):
    """Move a complete folder to where it belongs; what was there is removed."""
    old = fresh + ".old"
    shutil.rmtree(old, ignore_errors=True)
    if os.path.exists(folder):
        os.replace(folder, old)
    os.replace(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)


def is_tree(folder):
    """Whether the folder has a description of this format, of whatever version."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        with open(os.path.join(folder, "meta.json"), encoding="utf-8") as file:
            return json.load(file).get("format") == FORMAT
    return False


@contextlib.contextmanager
def building(folder):
    """The folder ``<folder>.building``, perhaps with what a killed process left there.

    It is removed at the end, after an error as well. It stays after a kill or ``KeyboardInterrupt``.

    Raises:
        KerasSuError: another process builds the same folder now, or something else has that name.
    """
    place = folder + ".building"
    if os.path.exists(place) and not (os.path.isdir(place) and (not os.listdir(place) or LOCK in os.listdir(place))):
        raise KerasSuError(f"PrefixTree: {place!r} is needed to build {folder!r}, but is something else. Expected a free name.")
    os.makedirs(place, exist_ok=True)
    with open(os.path.join(place, LOCK), "ab") as lock:
        if not locked(lock):
            raise KerasSuError(
                f"PrefixTree: {folder!r} is being built by another process, in {place!r}. Expected to be the only one."
            )
        try:
            yield place
        except Exception:
            remove_building(place)
            raise
        remove_building(place)


def remove_building(place):
    """Remove the folder, and last of all the lock by which it is known."""
    for entry in list(os.scandir(place)):
        if entry.name != LOCK:
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else os.remove(entry)
    shutil.rmtree(place, ignore_errors=True)  # on Windows the lock is still open and stays


def locked(file):
    """Whether the file could be locked for this process; the lock ends with the process, however that ends."""
    try:
        import fcntl
    except ImportError:  # Windows, where an open file cannot be removed either
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that knows no locks
        return True
    return os.path.exists(file.name) and os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))  # else just removed
