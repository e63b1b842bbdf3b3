"""RESP, as raw bytes: requests, and replies one by one."""

import harness


def request(*words):
    """An array of bulk strings."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def split(line):
    """The request of a line with words between blanks."""
    return request(*line.split(b" "))


class Client(harness.Stream):
    """A client that gets its replies as they were sent."""

    def reply(self):
        """One reply, with all that it consists of."""
        head = self.line()
        kind, rest = head[:1], head[1:-2]
        assert head.endswith(b"\r\n") and kind in b"+-:$*_%~>=,#(", head
        if kind in b"$=" and rest != b"-1":
            return head + self.exactly(int(rest) + 2)
        if kind in b"*~%>" and rest != b"-1":
            items = int(rest) * (2 if kind == b"%" else 1)
            return head + b"".join(self.reply() for _ in range(items))
        return head

    def call(self, *words):
        self.send(request(*words))
        return self.reply()

    def ask(self, line):
        self.send(split(line))
        return self.reply()


def items(reply):
    """The bulk strings of an array of nothing else."""
    lines, found = reply, []
    count, _, lines = lines[1:].partition(b"\r\n")
    for _ in range(int(count)):
        length, _, lines = lines[1:].partition(b"\r\n")
        found.append(lines[: int(length)])
        lines = lines[int(length) + 2 :]
    return found


def connect(server, name="kv", transport="redis+unix"):
    return Client(server.address(name, transport))
