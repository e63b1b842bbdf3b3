"""What a disk may hold after the power has failed, at any moment of a trace (faults.py).

The model is what POSIX promises and hardly more. A write, or a new length, is safe once a sync of its file
that began after it has succeeded. Until then each of its sectors may be there or not, whatever became of the
others. A write whose sync has failed may never get there, as the system takes it for written. What has
happened to a name (it was created, renamed, removed) is safe once its directory was synced; until then it may
have happened on the disk or not, whatever became of others. A rename is never half done. A directory whose
sync has failed can be synced again: no file system forgets a part of its own structure and goes on.
"""

from bisect import bisect_right

SECTORS = 512, 4096


class Change:
    """Of a file: bytes at an offset, or a new length (data is None)."""

    __slots__ = ("number", "offset", "data", "is_safe", "is_doubtful")

    def __init__(self, number, offset, data):
        self.number, self.offset, self.data = number, offset, data
        self.is_safe = False
        self.is_doubtful = False  # a sync has failed: no later one can make it safe

    def apply(self, content):
        if self.data is None:
            del content[self.offset :]
            content.extend(bytes(self.offset - len(content)))
        else:
            put(content, self.offset, self.data)

    def apply_some(self, content, keep, sector):
        """The sectors that are kept; a new length is kept or not as a whole."""
        if self.data is None:
            if keep():
                self.apply(content)
            return
        at = 0
        while at < len(self.data):
            length = sector - (self.offset + at) % sector
            if keep():
                put(content, self.offset + at, self.data[at : at + length])
            at += length


def put(content, begin, data):
    content.extend(bytes(max(0, begin + len(data) - len(content))))
    content[begin : begin + len(data)] = data


class File:
    def __init__(self, content=b""):
        self.content = bytearray(content)  # by all changes up to the first one that is not safe
        self.changes = []

    def sync(self, begin, has_worked):
        """A sync that began at that record."""
        for change in self.changes:
            if change.number < begin and not change.is_doubtful:
                change.is_safe |= has_worked
                change.is_doubtful = not change.is_safe
        count = 0
        while count < len(self.changes) and self.changes[count].is_safe:
            self.changes[count].apply(self.content)
            count += 1
        del self.changes[:count]

    def has_failed(self, number):
        """Of one write: it may be there, and no sync makes it safe."""
        for change in self.changes:
            if change.number == number:
                change.is_doubtful = True

    def image(self, keep, sector):
        """One of the contents that it may have; keep() says of an unsafe sector whether it is there."""
        content = bytearray(self.content)
        for change in self.changes:
            if change.is_safe:
                change.apply(content)
            else:
                change.apply_some(content, keep, sector)
        return content


class Directory:
    """Its names as they are, and as the disk has them for sure; each is a File or a Directory."""

    def __init__(self):
        self.names, self.safe = {}, {}
        self.operations = []  # that are not safe: record number, and what is done to a dict of names

    def operate(self, number, operation):
        operation(self.names)
        self.operations.append((number, operation))

    def add(self, number, name, node):
        self.operate(number, lambda names: names.__setitem__(name, node))

    def remove(self, number, name):
        self.operate(number, lambda names: names.pop(name, None))

    def rename(self, number, name, new_name):
        node = self.names[name]

        def operation(names):
            for other in [other for other, there in names.items() if there is node]:
                del names[other]
            names[new_name] = node

        self.operate(number, operation)

    def sync(self, begin, has_worked):
        while has_worked and self.operations and self.operations[0][0] < begin:
            self.operations.pop(0)[1](self.safe)

    def image(self, keep, sector):
        """The files in it and below it, path to content; a directory is a path that ends with a slash."""
        names, found = dict(self.safe), {}
        for _, operation in self.operations:
            if keep():
                operation(names)
        for name, node in names.items():
            if isinstance(node, Directory):
                found[name + "/"] = b""
                below = node.image(keep, sector)
                found.update({f"{name}/{path}": content for path, content in below.items()})
            else:
                found[name] = node.image(keep, sector)
        return found


class Disk:
    """Follows a trace; between any two of its records the power may fail."""

    def __init__(self, files=None):
        """With what it holds before: an image."""
        self.root = Directory()
        self.begun = {}  # of a write or sync, by its number, what it is of
        for path, content in sorted((files or {}).items()):
            directory, name = self._place(path.rstrip("/"))
            directory.names[name] = Directory() if path.endswith("/") else File(content)
            directory.safe[name] = directory.names[name]

    def _place(self, path):
        """The directory and the name in it."""
        *parents, name = path.split("/")
        directory = self.root
        for parent in parents:
            directory = directory.names[parent]
        return directory, name

    def find(self, path):
        """None when it is there no more."""
        if path == "":
            return self.root
        directory, name = self._place(path)
        return directory.names.get(name)

    def follow(self, record):
        if record.kind in "WT":
            file = self.begun[record.number] = self.find(record.name)
            if file is not None:
                data = None if record.kind == "T" else record.data or bytes(record.length)
                file.changes.append(Change(record.number, record.value, data))
        elif record.kind == "B":
            self.begun[record.number] = self.find(record.name)
        elif record.kind in "XEF":
            node = self.begun.get(record.value)
            if node is not None and record.kind == "X":
                node.has_failed(record.value)
            elif node is not None:
                node.sync(record.value, record.kind == "E")
        elif record.kind in "CUR":
            self._follow_name(record)

    def _follow_name(self, record):
        directory, name = self._place(record.name)
        if record.kind == "C":
            directory.add(record.number, name, Directory() if record.value else File())
        elif record.kind == "U":
            directory.remove(record.number, name)
        else:
            new_directory, new_name = self._place(record.data.decode())
            assert new_directory is directory, "a rename to another directory is not modelled"
            directory.rename(record.number, name, new_name)

    def image(self, randomness):
        """Files and their contents, as they may be found: path to bytes."""
        chance = randomness.choice([0, 0, 0.1, 0.5, 0.9, 0.98, 1, 1])
        sector = randomness.choice(SECTORS)
        return self.root.image(lambda: randomness.random() < chance, sector)


def write_image(files, directory):
    """Below a directory that is there."""
    for path, content in sorted(files.items()):
        if path.endswith("/"):
            (directory / path).mkdir()
        else:
            with open(directory / path, "wb") as file:
                file.write(content.rstrip(b"\0"))
                file.truncate(len(content))


class Answers:
    """How many lines each client had been sent, at any moment: by its port."""

    def __init__(self, records):
        unsent = {}
        for record in records:
            if record.kind == "L":
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
