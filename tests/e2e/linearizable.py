"""Whether what clients have seen of a key-value store can be explained by one order of their requests.

A history is linearizable if every request can be given one moment between its begin and its end, so that
the requests, done one by one in that order, get the answers that they got. That holds for a store if and
only if it holds for each key by itself. Every SET writes a value that no other writes.

A request without an answer, or with one that says it failed, may have been done or not: until its end, if
that is known (its daemon was killed), or at any later time.
"""

from dataclasses import dataclass
from math import inf

SET, GET, DEL = "SET", "GET", "DEL"


class Violation(AssertionError):
    """No order explains it."""


@dataclass
class Request:
    """A request as its client saw it; requests of one client are done in the order of the history."""

    client: object
    verb: str
    key: object
    value: object = None  # that is SET, or that GET has seen; None = NOT_FOUND
    deleted: bool = False  # what DEL has answered
    begin: float = 0
    end: float = inf
    is_certain: bool = True  # it was done, with this answer

    def __str__(self):
        answer = {SET: "OK", GET: self.value, DEL: "DELETED" if self.deleted else None}[self.verb]
        words = [self.verb, str(self.key), *([str(self.value)] if self.verb == SET else [])]
        shown = (answer or "NOT_FOUND") if self.is_certain else "no answer"
        return f"[{self.begin:.6f} {self.end:.6f}] {self.client}: {' '.join(words)} -> {shown}"


def check(history):
    """Raises Violation unless the history is linearizable."""
    keys = {}
    for request in history:
        keys.setdefault(request.key, []).append(request)
    for requests in keys.values():
        KeyHistory(requests).check()


class KeyHistory:
    """The search for an order of the requests of one key (Wing and Gong, with Lowe's memory).

    What is certain is put in order, one after the other. What is uncertain is only put in where the next
    certain request needs it for its answer, directly before: anywhere else nobody would notice.
    """

    def __init__(self, requests):
        self.certain = sorted((r for r in requests if r.is_certain), key=lambda r: r.begin)
        uncertain = [r for r in requests if not r.is_certain and r.verb != GET]
        self.uncertain = sorted(uncertain, key=lambda r: r.end)
        self.previous = self._previous_of_client()
        self.uncertain_sets = {r.value: i for i, r in enumerate(self.uncertain) if r.verb == SET}
        self.seen = {r.value for r in self.certain if r.verb == GET}
        self._check_values(requests)

    def _previous_of_client(self):
        """For each certain request, the one that its client has sent before; sorted() is stable."""
        previous, last = [], {}
        for index, request in enumerate(self.certain):
            previous.append(last.get(request.client))
            last[request.client] = index
        return previous

    def _check_values(self, requests):
        written = [r.value for r in requests if r.verb == SET]
        assert len(written) == len(set(written)), "the values of a history have to be unique"
        for request in self.certain:
            if request.verb == GET and request.value is not None and request.value not in written:
                raise Violation(f"a value that nobody has written:\n{request}")

    def check(self):
        """Depth first; a state is what is done, the value, and which uncertain requests are used."""
        everything = (1 << len(self.certain)) - 1
        start = (0, None, 0)
        seen, stack, furthest = {start}, [(start, 0, -inf)], (0, None, 0)
        while stack:
            state, first, latest = stack.pop()
            if state[0] == everything:
                return
            if state[0].bit_count() > furthest[0].bit_count():
                furthest = state
            while state[0] >> first & 1:
                first += 1
            for following, begin in self._steps(state, first, latest):
                if following not in seen:
                    seen.add(following)
                    stack.append((following, first, max(latest, begin)))
        raise Violation(self._explain(furthest))

    def _candidates(self, done, first):
        """The requests that can be next, and the moment at which one of them has to be over."""
        candidates, deadline = [], inf
        for index in range(first, len(self.certain)):
            request = self.certain[index]
            if request.begin > deadline:
                break
            if not done >> index & 1:
                deadline = min(deadline, request.end)
                candidates.append(index)
        return [i for i in candidates if self.certain[i].begin <= deadline
                and (self.previous[i] is None or done >> self.previous[i] & 1)], deadline

    def _steps(self, state, first, latest):
        """The states that can follow, each with the moment before which it can not begin."""
        done, value, used = state
        candidates, deadline = self._candidates(done, first)
        for index in candidates:
            request, now_done = self.certain[index], done | 1 << index
            if explains(request, value):
                yield (now_done, result(request, value), used), request.begin
                continue
            for helper in self._helpers(request, used, deadline, latest):
                begin = max(request.begin, self.uncertain[helper].begin)
                before = result(self.uncertain[helper], value)
                if explains(request, before):
                    yield (now_done, result(request, before), used | 1 << helper), begin

    def _helpers(self, request, used, deadline, latest):
        """The uncertain requests that can come directly before.

        Of those that nobody has seen and that delay nothing, the one that ends first is as good as any.
        """
        if request.verb == GET and request.value is not None:
            found = self.uncertain_sets.get(request.value)
            wanted = [] if found is None else [found]
        else:
            verb = SET if request.verb == DEL and request.deleted else DEL
            wanted = [i for i, r in enumerate(self.uncertain) if r.verb == verb]
        is_served = False
        for index in wanted:
            helper = self.uncertain[index]
            if used >> index & 1 or helper.begin > deadline or helper.end < latest:
                continue
            is_unseen = helper.verb == DEL or helper.value not in self.seen
            if is_unseen and helper.begin <= max(latest, request.begin):
                if is_served:
                    continue
                is_served = True
            yield index

    def _explain(self, furthest):
        done, value, _ = furthest
        first = next(i for i in range(len(self.certain)) if not done >> i & 1)
        candidates, _ = self._candidates(done, first)
        since = min(self.certain[i].begin for i in candidates)
        around = [r for r in self.certain + self.uncertain if r.end >= since]
        around.sort(key=lambda r: r.begin)
        return "\n".join([
            f"no order explains it; at best {done.bit_count()} of {len(self.certain)}, "
            f"the value then being {value}; next must be one of:",
            *(f"    {self.certain[i]}" for i in candidates),
            "among:",
            *(f"    {request}" for request in around[:40]),
        ])


def explains(request, value):
    """Whether the request gets its answer when that is the value."""
    if request.verb == GET:
        return request.value == value
    return request.verb == SET or request.deleted == (value is not None)


def result(request, value):
    """The value after the request."""
    return {SET: request.value, GET: value, DEL: None}[request.verb]
