"""The files of a prefix tree: one ``.npy`` file per part and a ``meta.json`` that describes them."""

import json
import os
import zlib
from dataclasses import fields

import numpy as np

from keras_su.decoding.prefix_tree_folder import FORMAT
from keras_su.decoding.prefix_tree_parts import Parts
from keras_su.errors import KerasSuError

VERSION = 1
PARTS = [field.name for field in fields(Parts)]


def part_path(folder, name):
    return os.path.join(folder, name + ".npy")


def new_part(folder, name, length, dtype):
    """A writable mapped array in the folder."""
    return np.lib.format.open_memmap(part_path(folder, name), mode="w+", dtype=dtype, shape=(length,))


def write_parts(folder, parts):
    """A complete tree in the folder, from ``{name: array}``."""
    for name, part in parts.items():
        np.save(part_path(folder, name), part)
    write_meta(folder, parts)


def write_meta(folder, parts):
    """Describe the parts, which are in the folder already."""
    described = {name: {"dtype": part.dtype.str, "length": len(part), "crc32": checksum(part)} for name, part in parts.items()}
    with open(os.path.join(folder, "meta.json"), "w", encoding="utf-8") as file:
        json.dump({"format": FORMAT, "version": VERSION, "parts": described}, file, indent=1)


def checksum(part, block=2**22):
    """CRC-32 of an array, read in blocks."""
    value = 0
    for start in range(0, len(part), block):
        value = zlib.crc32(np.ascontiguousarray(part[start : start + block]).view(np.uint8), value)
    return value


def read_parts(folder, mmap):
    """All parts of a saved tree, checked against their description; the checksums only when the parts are read into memory."""
    described = read_meta(folder)
    parts = {}
    for name in PARTS:
        path, expected = part_path(folder, name), described[name]
        if not os.path.exists(path):
            raise KerasSuError(f"PrefixTree: {folder!r} lacks {name}.npy. Expected the files {', '.join(PARTS)}, each .npy.")
        try:
            part = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise KerasSuError(f"PrefixTree: {path!r} cannot be read, it is truncated or damaged: {error}") from error
        if part.dtype.str != expected["dtype"] or part.shape != (expected["length"],):
            raise KerasSuError(
                f"PrefixTree: {path!r} holds {part.dtype.str} of shape {part.shape}. "
                f"Expected {expected['dtype']} of shape ({expected['length']},), as meta.json says."
            )
        if not mmap and checksum(part) != expected["crc32"]:
            raise KerasSuError(f"PrefixTree: {path!r} is damaged: its checksum differs from meta.json. Build the tree again.")
        parts[name] = part
    check_sizes(folder, parts)
    return parts


def read_meta(folder):
    """The description of each part."""
    path = os.path.join(folder, "meta.json")
    if not os.path.exists(path):
        what = "is not a folder" if not os.path.isdir(folder) else "has no meta.json"
        raise KerasSuError(f"PrefixTree: {str(folder)!r} {what}. Expected a folder that PrefixTree.save or build(folder=) wrote.")
    try:
        with open(path, encoding="utf-8") as file:
            meta = json.load(file)
        found, version = meta["format"], meta["version"]
        if found != FORMAT:
            raise KerasSuError(f"PrefixTree: {path!r} describes {found!r}. Expected {FORMAT!r}.")
        if version != VERSION:
            raise KerasSuError(f"PrefixTree: {path!r} is version {version!r}. Expected version {VERSION}: build the tree again.")
        return {name: {key: meta["parts"][name][key] for key in ("dtype", "length", "crc32")} for name in PARTS}
    except KerasSuError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise KerasSuError(f"PrefixTree: {path!r} is damaged ({type(error).__name__}: {error}). Build the tree again.") from error


def check_sizes(folder, parts):
    """The parts belong together: each table of starts ends where the part that it divides ends."""
    divided = {"edge_start": "edge_token", "tail_start": "tail_token", "value_start": None, "text_start": "text"}
    values = max(len(parts["text_start"]) - 1, 0)
    fits = len(parts["edge_start"]) == len(parts["first_row"]) + 1 and len(parts["edge_token"]) == len(parts["edge_target"])
    for starts, content in divided.items():
        length = values if content is None else len(parts[content])
        fits = fits and int(parts[starts][-1] if len(parts[starts]) else 0) == length
    if not fits:
        raise KerasSuError(f"PrefixTree: the parts in {str(folder)!r} do not belong together. Build the tree again.")
