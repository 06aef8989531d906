"""Zip archives whose entries are read as arrays: torch files and ``.npz``, both normally stored without compression."""

import zipfile

from keras_su.errors import CheckpointError
from keras_su.weights.raw_file import RawFile, damaged

_LOCAL_HEADER = 30  # bytes before the name of an entry
_LOCAL_SIGNATURE = b"PK\x03\x04"


class ZipArchive:
    """A zip file and the raw file below it, so that uncompressed entries can be read from their place on the disk."""

    def __init__(self, path):
        self.raw = RawFile(path)
        self.path = self.raw.path
        try:
            self._zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            self.raw.close()
            raise damaged(path, f"the list of contents at the end of the zip archive cannot be read ({error})") from None
        self._entries = {entry.filename: entry for entry in self._zip.infolist()}
        self._offsets = {}

    def names(self):
        """All entries, in the order of the archive."""
        return list(self._entries)

    def __contains__(self, name):
        return name in self._entries

    def size(self, name):
        """Uncompressed size of an entry in bytes."""
        return self._entries[name].file_size

    def open(self, name):
        """An entry as a file object."""
        return self._zip.open(name)

    def read(self, name):
        """An entry as bytes, with its checksum compared."""
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, EOFError) as error:
            raise damaged(self.path, f"the entry {name!r} cannot be read ({error})") from None
        except (NotImplementedError, RuntimeError) as error:  # a compression method that Python lacks, or encryption
            raise CheckpointError(f"{self.path}: the entry {name!r} cannot be read: {error}.") from None

    def offset(self, name):
        """The byte of the file where an uncompressed entry begins, or ``None`` if the entry is compressed."""
        entry = self._entries[name]
        if entry.compress_type != zipfile.ZIP_STORED:
            return None
        if name not in self._offsets:
            # The lengths in the central directory may differ from those in front of the entry, where padding for alignment hides.
            self.raw.file.seek(entry.header_offset)
            header = self.raw.file.read(_LOCAL_HEADER)
            if header[:4] != _LOCAL_SIGNATURE or len(header) < _LOCAL_HEADER:
                raise damaged(self.path, f"the entry {name!r} is not where the list of contents says")
            lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            self._offsets[name] = entry.header_offset + _LOCAL_HEADER + lengths
        return self._offsets[name]

    def close(self):
        self._zip.close()
        self.raw.close()
