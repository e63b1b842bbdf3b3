"""The history checker itself: it takes what a store may do, and nothing else."""

import itertools
import random
from math import inf

import pytest

from linearizable import DEL, GET, SET, Request, Violation, check, explains, result


def history(text):
    """Requests of one key, a line each: client, begin, end (- = never answered), verb, value.

    DEL's value is 1 for DELETED and 0 for NOT_FOUND; a ? behind the verb makes it uncertain.
    """
    requests = []
    for line in filter(None, map(str.strip, text.splitlines())):
        client, begin, end, verb, *words = line.split()
        value = words[0] if words and words[0] != "none" else None
        name = verb.rstrip("?")
        requests.append(Request(
            client, name, "k", None if name == DEL else value, name == DEL and value == "1",
            float(begin), inf if end == "-" else float(end), "?" not in verb,
        ))  # fmt: skip
    return requests


GOOD = {
    "nothing": "",
    "missing": "a 0 1 GET none",
    "in-order": "a 0 1 SET x \n a 2 3 GET x \n a 4 5 DEL 1 \n a 6 7 GET none \n a 8 9 DEL 0",
    "read-during-write-sees-old": "a 0 9 SET x \n b 1 2 GET none \n b 3 4 GET x",
    "two-writers-either-order": "a 0 9 SET x \n b 0 9 SET y \n c 10 11 GET x \n c 12 13 GET x",
    "delete-between": "a 0 9 SET x \n b 0 9 DEL 1 \n c 10 11 GET none",
    "delete-before": "a 0 9 SET x \n b 0 9 DEL 0 \n c 10 11 GET x",
    "pipeline-of-one-client": "a 0 9 SET x \n a 0 9 GET x \n a 0 9 SET y \n a 0 9 GET y",
    "uncertain-seen": "a 0 - SET? x \n b 5 6 GET x",
    "uncertain-not-seen": "a 0 - SET? x \n b 5 6 GET none",
    "uncertain-seen-late": "a 0 - SET? x \n b 2 3 SET y \n b 4 5 GET y \n b 6 7 GET x",
    "uncertain-delete": "a 0 1 SET x \n b 2 - DEL? 1 \n a 3 4 GET x \n a 5 6 GET none",
    "uncertain-set-was-deleted": "a 0 - SET? x \n b 1 2 DEL 1",
    "uncertain-set-was-deleted-but-later-one-seen":
        "a 0 - SET? x \n a 0 - SET? y \n b 1 2 DEL 1 \n b 3 4 GET x",
    "uncertain-delete-explains-not-found": "a 0 1 SET x \n b 2 - DEL? 1 \n a 3 4 DEL 0",
    "uncertain-until-the-daemon-died": "a 0 3 SET? x \n b 4 5 GET x",
}

BAD = {
    "invented": "a 0 1 SET x \n a 2 3 GET y",
    "lost": "a 0 1 SET x \n b 2 3 GET none",
    "stale": "a 0 1 SET x \n a 2 3 SET y \n b 4 5 GET x",
    "back-in-time": "a 0 9 SET x \n b 1 2 GET x \n b 3 4 GET none",
    "back-in-time-for-another": "a 0 9 SET x \n b 1 2 GET x \n c 3 4 GET none",
    "readers-disagree":
        "a 0 9 SET x \n b 0 9 SET y \n c 10 11 GET x \n c 12 13 GET y",
    "value-before-its-write": "a 0 1 GET x \n b 2 3 SET x",
    "deleted-twice": "a 0 1 SET x \n b 2 9 DEL 1 \n c 2 9 DEL 1",
    "deleted-nothing": "a 0 1 DEL 1",
    "delete-has-missed-it": "a 0 1 SET x \n b 2 3 DEL 0",
    "delete-without-effect": "a 0 1 SET x \n b 2 3 DEL 1 \n a 4 5 GET x",
    "pipeline-out-of-order": "a 0 9 SET x \n a 0 9 GET none",
    "uncertain-before-its-begin": "a 0 1 GET x \n b 2 - SET? x",
    "uncertain-twice":
        "a 0 - SET? x \n b 1 2 GET x \n b 3 4 SET y \n b 5 6 GET y \n b 7 8 GET x",
    "uncertain-delete-twice":
        "a 0 1 SET x \n b 0 - DEL? 1 \n a 2 3 GET none \n a 4 5 SET y \n a 6 7 GET none",
    "back-after-the-daemon-died":
        "a 0 3 SET? x \n b 4 5 GET none \n b 6 7 GET x",
    "one-uncertain-set-for-two-deletes": "a 0 - SET? x \n b 1 2 DEL 1 \n b 3 4 DEL 1",
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_good(text):
    check(history(text))


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_bad(text):
    with pytest.raises(Violation):
        check(history(text))


def has_an_order(requests):
    """The definition: some choice of the uncertain ones, in some order, gives these answers."""
    uncertain = [r for r in requests if not r.is_certain]
    certain = [r for r in requests if r.is_certain]
    for count in range(len(uncertain) + 1):
        for chosen in itertools.combinations(uncertain, count):
            if any(map(is_an_order, itertools.permutations(certain + list(chosen)))):
                return True
    return False


def is_an_order(requests):
    value, latest = None, -inf
    places = {}
    for place, request in enumerate(requests):
        latest = max(latest, request.begin)
        if request.end < latest or (request.is_certain and not explains(request, value)):
            return False
        value = result(request, value)
        if request.is_certain:
            places.setdefault(request.client, []).append(request.place)
    return all(own == sorted(own) for own in places.values())


def random_history(randomness):
    """Small enough to try all orders, and as often wrong as right."""
    requests = []
    clock = {client: randomness.randrange(4) for client in "abc"}
    for number in range(randomness.randint(2, 6)):
        client = randomness.choice("abc")
        begin = clock[client]
        end = begin + randomness.randint(1, 6)
        clock[client] = randomness.choice([begin, end + 1])
        verb = randomness.choice([SET, SET, GET, GET, DEL])
        is_certain = randomness.random() < 0.75
        if not is_certain:
            end = randomness.choice([inf, end])
        values = [None, *(r.value for r in requests if r.verb == SET), f"v{number + 1}"]
        value = {SET: f"v{number}", GET: randomness.choice(values), DEL: None}[verb]
        deleted = verb == DEL and randomness.random() < 0.5
        requests.append(Request(client, verb, "k", value, deleted, begin, end, is_certain))
        requests[-1].place = number
    requests.sort(key=lambda r: r.begin)
    for place, request in enumerate(requests):
        request.place = place
    return requests


def test_the_search_finds_what_trying_all_orders_finds():
    randomness = random.Random(2718)
    verdicts = {True: 0, False: 0}
    for _ in range(1500):
        requests = random_history(randomness)
        expected = has_an_order([r for r in requests if r.is_certain or r.verb != GET])
        verdicts[expected] += 1
        try:
            check(requests)
            got = True
        except Violation:
            got = False
        assert got == expected, "\n".join(map(str, requests))
    assert min(verdicts.values()) > 200, verdicts
