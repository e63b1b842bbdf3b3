"""What a disk may hold after the power has failed, at any moment of a trace (faults.py).

The model is what POSIX promises and not a bit more: a write is safe once a sync of its file that began
after it has succeeded, or if its descriptor had O_DSYNC, once it has returned. Until then each of its
sectors may be there or not, whatever became of the others. A write whose sync has failed may never get
there, as the system takes it for written. The name of a new file is safe once its directory was synced.
"""

from bisect import bisect_right

SECTOR = 512


def parent_of(name):
    """In the way of the trace, where the root is ''."""
    return name.rpartition("/")[0]


class Change:
    """Of a file: bytes at an offset, or a new length (data is None)."""

    __slots__ = ("number", "offset", "data", "is_safe", "is_doubtful")

    def __init__(self, number, offset, data):
        self.number, self.offset, self.data = number, offset, data
        self.is_safe = False
        self.is_doubtful = False  # a sync has failed: no later one can make it safe

    def apply(self, content, is_kept):
        """The sectors that are kept; a new length is kept or not as a whole."""
        if self.data is None:
            if is_kept():
                del content[self.offset :]
                content.extend(bytes(self.offset - len(content)))
            return
        at = 0
        while at < len(self.data):
            length = SECTOR - (self.offset + at) % SECTOR
            piece = self.data[at : at + length]
            if is_kept():
                begin = self.offset + at
                content.extend(bytes(max(0, begin + len(piece) - len(content))))
                content[begin : begin + len(piece)] = piece
            at += length


class File:
    def __init__(self):
        self.name_is_safe = False
        self.content = bytearray()  # by all changes up to the first one that is not safe
        self.changes = []

    def sync(self, begin, has_worked):
        """A sync that began at that record."""
        for change in self.changes:
            if change.number < begin and not change.is_doubtful:
                change.is_safe |= has_worked
                change.is_doubtful = not change.is_safe
        self._settle()

    def _settle(self):
        count = 0
        while count < len(self.changes) and self.changes[count].is_safe:
            self.changes[count].apply(self.content, lambda: True)
            count += 1
        del self.changes[:count]

    def image(self, keep):
        """One of the contents that it may have; keep() says of an unsafe sector whether it is there."""
        content = bytearray(self.content)
        for change in self.changes:
            change.apply(content, (lambda: True) if change.is_safe else keep)
        return bytes(content)

    def set_result(self, number, is_safe):
        """Of one write."""
        for change in self.changes:
            if change.number == number:
                change.is_safe, change.is_doubtful = is_safe, not is_safe
        self._settle()


class Disk:
    """Follows a trace; between any two of its records the power may fail."""

    def __init__(self, records):
        self.records = records
        self.by_number = {record.number: record for record in records}
        self.files = {}
        self.renamed = {}
        self.directories = {"": True}  # whether the name is safe

    def follow(self, record):
        if record.kind == "W":
            change = Change(record.number, record.value, record.data)
            self.files.setdefault(record.name, File()).changes.append(change)
        elif record.kind == "T":
            self.files[record.name].changes.append(Change(record.number, record.value, None))
        elif record.kind in "DX":
            self._file(record).set_result(record.value, record.kind == "D")
        elif record.kind in "EF":
            self._sync(record, record.kind == "E")
        elif record.kind == "C" and record.value:
            self.directories[record.name] = False
        elif record.kind == "C":
            self.files[record.name] = File()
        elif record.kind == "R":
            new = record.data.decode()
            self.files[new] = self.files.pop(record.name)
            self.files[new].name_is_safe = False
            self.renamed[record.name] = new

    def _file(self, end):
        """That a write or sync was for whose end this is."""
        name = self.by_number[end.value].name
        return self.files.get(self.renamed.get(name, name))

    def _sync(self, end, has_worked):
        begin = self.by_number[end.value]
        if begin.name in self.directories:
            for name in self.directories:
                if name and parent_of(name) == begin.name:
                    self.directories[name] |= has_worked
            for name, file in self.files.items():
                if parent_of(name) == begin.name:
                    file.name_is_safe |= has_worked
        else:
            self._file(end).sync(begin.number, has_worked)

    def image(self, randomness):
        """Files and their contents, as they may be found: name to bytes."""
        chance = randomness.choice([0, 0, 0.1, 0.5, 0.9, 1, 1])
        keep = lambda: randomness.random() < chance  # noqa: E731
        lost = {name for name, is_safe in self.directories.items() if not (is_safe or keep())}
        return {
            name: file.image(keep)
            for name, file in self.files.items()
            if parent_of(name) not in lost and (file.name_is_safe or keep())
        }


class Answers:
    """How many lines each client had been sent, at any moment: by its port."""

    def __init__(self, records):
        unsent = {}
        for record in records:
            if record.kind == "U":
                unsent[record.value] = unsent.get(record.value, b"") + record.data
        self.numbers, self.counts = {}, {}
        for record in records:
            if record.kind == "S":
                lines = record.data.count(b"\n") - unsent.get(record.number, b"").count(b"\n")
                counts = self.counts.setdefault(record.value, [0])
                counts.append(counts[-1] + lines)
                self.numbers.setdefault(record.value, []).append(record.number)

    def count(self, port, number):
        """Up to that record. From when a line begins to be sent, it counts."""
        if port not in self.counts:
            return 0
        return self.counts[port][bisect_right(self.numbers[port], number)]
