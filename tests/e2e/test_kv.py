"""kv: every row of the protocol, limits, pipelines, splits and impostors."""

import json
import os
import re

import pytest

import harness
from transports import every_stream

OK, MISSING = b"OK\n", b"NOT_FOUND\n"
EMPTY, UNKNOWN = b"ERROR: empty command\n", b"ERROR: unknown command\n"
NO_NUMBER, OUT_OF_RANGE = b"ERROR: not a number\n", b"ERROR: number out of range\n"
INVALID = b"ERROR: invalid expire time\n"
SCAN_USAGE = b"SCAN cursor [MATCH pattern] [COUNT n]"
UNIX = "unix://$DIR/kv"


@pytest.fixture
def kv(echod):
    """A client of a fresh store over a Unix socket (no telnet: all bytes are data)."""
    with echod({"kv": {"listen": UNIX}}).kv() as client:
        yield client


def store(echod, **settings):
    return echod({"kv": {"listen": UNIX, **settings}})


def usage(arguments):
    return b"ERROR: wrong number of arguments: " + arguments + b"\n"


# Requests on one connection to an empty store, and all that comes back.
DIALOGUES = {
    "set-get": (b"SET a 1\nGET a\n", OK + b"1\n"),
    "set-replaces": (b"SET a 1\nSET a 22\nGET a\n", OK + OK + b"22\n"),
    "get-missing": (b"GET a\n", MISSING),
    "del": (b"SET a 1\nDEL a\nGET a\nDEL a\n", OK + b"DELETED\n" + MISSING + MISSING),
    "keys-are-case-sensitive": (b"SET a 1\nGET A\n", OK + MISSING),
    "cr-lf": (b"SET a 1\r\nGET a\r\n", OK + b"1\n"),
    "cr-inside-is-data": (b"SET a x\ry\nGET a\n", OK + b"x\ry\n"),
    "verb-in-lower-case": (b"set a 1\nget a\ndel a\n", OK + b"1\nDELETED\n"),
    "verb-in-mixed-case": (b"sEt a 1\nGeT a\n", OK + b"1\n"),
    "inner-white-space-kept": (
        b"SET a  hello   big  world \nGET a\n",
        OK + b"hello   big  world\n",
    ),
    "stripped": (b" \t\v\f\rSET a 1 \t\v\f\r\n\v GET a \f\n", OK + b"1\n"),
    "runs-of-any-white-space-separate": (b"SET\t\v \fa\r\t1\nGET\f\va\n", OK + b"1\n"),
    "inner-tabs-kept": (b"SET a 1\t\v2\nGET a\n", OK + b"1\t\v2\n"),
    "empty": (b"\n", EMPTY),
    "empty-cr": (b"\r\n", EMPTY),
    "white-space-only": (b" \t\v\f\r \n", EMPTY),
    "unknown-verb": (b"FOO a\n", UNKNOWN),
    "verb-with-tail": (b"SETX a b\nGETa\n", UNKNOWN * 2),
    "too-few-words": (b"GET\nDEL\nSET\nSET a\nSET a \n", UNKNOWN * 5),
    "too-many-words": (b"GET a b\nDEL a b\n", UNKNOWN * 2),
    "no-break-space-is-no-white-space": (b"GET\xa0a\n", UNKNOWN),
    "value-bye": (b"SET a BYE\nGET a\nGET a\n", OK + b"BYE\nBYE\n"),
    "value-like-an-answer": (b"SET a NOT_FOUND\nGET a\n", OK + b"NOT_FOUND\n"),
    "value-like-a-command": (b"SET a QUIT\nGET a\n", OK + b"QUIT\n"),
    "key-like-a-command": (b"SET QUIT 1\nGET QUIT\n", OK + b"1\n"),
    "value-http": (b"SET note HTTP/1.1\nGET note\n", OK + b"HTTP/1.1\n"),
    "value-star": (b"SET a *1\n*1\n", OK + UNKNOWN),
    "nul-in-key-and-value": (b"SET k\0 v\0w\nGET k\0\nGET k\n", OK + b"v\0w\n" + MISSING),
    "nul-is-no-white-space": (b"\0\nGET a\0\n", UNKNOWN + MISSING),
    "not-utf-8": (b"SET \xff\xfe \x80\xc3\nGET \xff\xfe\n", OK + b"\x80\xc3\n"),
    "last-line-without-lf": (b"SET a 1\nGET a", OK),
    "only-half-a-line": (b"SET a", b""),
    "nothing": (b"", b""),
    "quit": (b"QUIT\n", b"BYE\n"),
    "quit-with-words": (b"quit right now\n", b"BYE\n"),
    "quit-with-white-space": (b"  QUIT  \r\n", b"BYE\n"),
    "what-follows-quit-is-ignored": (b"GET a\nQUIT\nGET a\nFOO\n", MISSING + b"BYE\n"),
    "quitter-is-no-quit": (b"QUITTER\n", UNKNOWN),
    "ping": (b"PING\nping\nPING x\n", b"PONG\nPONG\n" + usage(b"PING")),
    "echo": (b"ECHO  a  b \nECHO\n", b"a  b\n" + usage(b"ECHO text")),
    "dbsize": (b"DBSIZE\nSET a 1\nSET b 1\nDBSIZE\nDEL a\nDBSIZE\n", b"0\nOK\nOK\n2\nDELETED\n1\n"),
    "type": (b"SET a 1\nTYPE a\nTYPE b\nTYPE\n", OK + b"string\nnone\n" + usage(b"TYPE key")),
    "exists": (
        b"SET a 1\nSET b 1\nEXISTS a\nEXISTS c\nEXISTS a  b c a\nEXISTS\n",
        OK * 2 + b"1\n0\n3\n" + usage(b"EXISTS key..."),
    ),
    "mget": (
        b"SET a one  1\nSET b NOT_FOUND\nMGET a c  b a\nMGET a\nMGET\n",
        OK * 2 + b"4\none  1\nNOT_FOUND\nNOT_FOUND\none  1\n1\none  1\n" + usage(b"MGET key..."),
    ),
    "setnx": (b"SETNX a 1 2\nSETNX a 3\nGET a\nSETNX a\n",
              OK + b"EXISTS\n1 2\n" + usage(b"SETNX key value")),
    "setex": (
        b"SETEX a 100 x  y\nGET a\nTTL a\nSETEX a 0 z\nSETEX a -1 z\nSETEX a x z\nGET a\nSETEX a 1\n",
        OK + b"x  y\n100\n" + INVALID * 2 + NO_NUMBER + b"x  y\n" + usage(b"SETEX key seconds value"),
    ),
    "setex-too-far": (
        b"SETEX a 9223372036854775807 x\nSETEX a 9223372036854775 x\nSETEX a 9223372036854775808 x\nGET a\n",
        INVALID * 2 + OUT_OF_RANGE + MISSING,
    ),
    "psetex": (b"PSETEX a 100000 x\nGET a\nTTL a\nPSETEX a 0 z\nPSETEX a 1\n",
               OK + b"x\n100\n" + INVALID + usage(b"PSETEX key ms value")),
    "getdel": (b"SET a 1\nGETDEL a\nGETDEL a\nGETDEL\n", OK + b"1\n" + MISSING + usage(b"GETDEL key")),
    "getset": (b"GETSET a 1\nGETSET a 22\nGET a\nGETSET a\n",
               MISSING + b"1\n22\n" + usage(b"GETSET key value")),
    "append": (b"APPEND a 1 2\nAPPEND a  3\nGET a\nAPPEND a\n",
               b"3\n4\n1 23\n" + usage(b"APPEND key value")),
    "strlen": (b"SET a hello\nSTRLEN a\nSTRLEN b\nSTRLEN\n", OK + b"5\n0\n" + usage(b"STRLEN key")),
    "incr": (b"INCR a\nINCR a\nGET a\nINCR\n", b"1\n2\n2\n" + usage(b"INCR key")),
    "decr": (b"DECR a\nDECR a\nGET a\nDECR a b\n", b"-1\n-2\n-2\n" + usage(b"DECR key")),
    "incrby": (b"INCRBY a 40\nINCRBY a -42\nINCRBY a\nINCRBY a 1.5\n",
               b"40\n-2\n" + usage(b"INCRBY key n") + NO_NUMBER),
    "decrby": (b"DECRBY a 40\nDECRBY a -42\nDECRBY a\nDECRBY a \xff\n",
               b"-40\n2\n" + usage(b"DECRBY key n") + NO_NUMBER),
    "numbers-at-their-ends": (
        b"SET a 9223372036854775806\nINCR a\nINCR a\nDECRBY a -1\nGET a\n"
        b"SET a -9223372036854775807\nDECR a\nDECR a\nDECRBY a -9223372036854775808\nGET a\n"
        b"SET a -1\nINCRBY a -9223372036854775807\nINCRBY a 9223372036854775808\nGET a\n",
        OK + b"9223372036854775807\n" + OUT_OF_RANGE * 2 + b"9223372036854775807\n"
        + OK + b"-9223372036854775808\n" + OUT_OF_RANGE * 2 + b"-9223372036854775808\n"
        + OK + b"-9223372036854775808\n" + OUT_OF_RANGE + b"-9223372036854775808\n",
    ),
    "a-value-that-is-no-number": (
        b"SET a 1x\nINCR a\nSET a 01\nINCR a\nSET a +1\nDECR a\nSET a 9223372036854775808\nINCR a\nGET a\n",
        (OK + NO_NUMBER) * 3 + OK + OUT_OF_RANGE + b"9223372036854775808\n",
    ),
    "expire": (
        b"EXPIRE a 100\nSET a 1\nEXPIRE a 100\nTTL a\nEXPIRE a 0\nGET a\nEXPIRE a\nEXPIRE a 1s\n",
        MISSING + OK * 2 + b"100\n" + OK + MISSING + usage(b"EXPIRE key seconds") + NO_NUMBER,
    ),
    "expire-in-the-past-deletes": (b"SET a 1\nEXPIRE a -9223372036854775\nDBSIZE\n", OK * 2 + b"0\n"),
    "expire-too-far": (b"SET a 1\nEXPIRE a 9223372036854775807\nPEXPIRE a 9223372036854775807\nTTL a\n",
                       OK + INVALID * 2 + b"NEVER\n"),
    "pexpire": (b"PEXPIRE a 100000\nSET a 1\nPEXPIRE a 100000\nTTL a\nPEXPIRE a\n",
                MISSING + OK * 2 + b"100\n" + usage(b"PEXPIRE key ms")),
    "expireat": (
        b"EXPIREAT a 9999999999\nSET a 1\nEXPIREAT a 9999999999\nGET a\nEXPIREAT a 1\nGET a\nEXPIREAT a\n",
        MISSING + OK * 2 + b"1\n" + OK + MISSING + usage(b"EXPIREAT key unix"),
    ),
    "persist": (b"PERSIST a\nSETEX a 100 1\nPERSIST a\nTTL a\nPERSIST a\nPERSIST\n",
                MISSING + OK * 2 + b"NEVER\n" + OK + usage(b"PERSIST key")),
    "ttl": (b"TTL a\nSET a 1\nTTL a\nTTL\n", MISSING + OK + b"NEVER\n" + usage(b"TTL key")),
    "pttl": (b"PTTL a\nSET a 1\nPTTL a\nPTTL\n", MISSING + OK + b"NEVER\n" + usage(b"PTTL key")),
    "rename": (
        b"RENAME a b\nSET a 1\nSET b 2\nRENAME a b\nGET a\nGET b\nRENAME b b\nGET b\nRENAME b\n",
        MISSING + OK * 3 + MISSING + b"1\n" + OK + b"1\n" + usage(b"RENAME key newkey"),
    ),
    "copy": (
        b"COPY a b\nSET a 1\nCOPY a b\nGET a\nGET b\nCOPY a b\nCOPY a a\nCOPY c b\nCOPY a\n",
        MISSING + OK * 2 + b"1\n1\nEXISTS\nEXISTS\n" + MISSING + usage(b"COPY key newkey"),
    ),
    "expiry-goes-along": (
        b"SETEX a 100 1\nINCR a\nTTL a\nAPPEND a 3\nTTL a\nRENAME a b\nTTL b\nCOPY b c\nTTL c\n"
        b"SETNX b 1\nTTL b\n",
        OK + b"2\n100\n2\n100\n" + OK + b"100\n" + OK + b"100\nEXISTS\n100\n",
    ),
    "expiry-ends-with-a-new-value": (
        b"SETEX a 100 1\nSET a 2\nTTL a\nSETEX a 100 1\nGETSET a 2\nTTL a\n"
        b"SETEX a 100 1\nSET b 2\nRENAME b a\nTTL a\nSETEX a 100 1\nDEL a\nAPPEND a 1\nTTL a\n",
        OK * 2 + b"NEVER\n" + OK + b"1\nNEVER\n" + OK * 3 + b"NEVER\n" + OK + b"DELETED\n1\nNEVER\n",
    ),
    "keys": (b"KEYS\nSET a 1\nKEYS\nKEYS b\nKEYS [^b]\nKEYS a b\n",
             b"0\n" + OK + b"1\na\n0\n1\na\n" + usage(b"KEYS [pattern]")),
    "scan": (
        b"SCAN 0\nSET a 1\nscan 0\nSCAN 0 match b*\nSCAN 0 COUNT 5 MATCH [ab]\nSCAN\nSCAN x\nSCAN -1\n"
        b"SCAN 0 COUNT 0\nSCAN 0 COUNT x\nSCAN 0 COUNT\nSCAN 0 TYPE string\nSCAN 18446744073709551616\n",
        b"1\n0\n" + OK + b"2\n0\na\n1\n0\n2\n0\na\n" + usage(SCAN_USAGE) + NO_NUMBER * 2
        + OUT_OF_RANGE + NO_NUMBER + usage(SCAN_USAGE) * 2 + OUT_OF_RANGE,
    ),
    "gets": (b"SET a hello\nGETS a\nGETS b\nGETS\n",
             OK + b"9555e8555c62dcfd hello\n" + MISSING + usage(b"GETS key")),
    "cas": (
        b"CAS a 9555e8555c62dcfd x\nSET a hello\nCAS a 0555e8555c62dcfd x\nCAS a 9555e8555c62dcfd0 x\n"
        b"CAS a 9555e8555c62dcfd  two words\nGET a\nCAS a 9555e8555c62dcfd x\nCAS a x\n",
        MISSING + OK + b"CHANGED\n" * 2 + OK + b"two words\nCHANGED\n" + usage(b"CAS key digest value"),
    ),
    "cas-in-capitals-keeps-expiry": (
        b"SETEX a 100 hello\nCAS a 9555E8555C62DCFD x\nTTL a\n", OK * 2 + b"100\n"),
    "delifeq": (b"DELIFEQ a 1\nSET a 1\nDELIFEQ a 11\nDELIFEQ a 1\nGET a\nDELIFEQ a\n",
                MISSING + OK + b"CHANGED\nDELETED\n" + MISSING + usage(b"DELIFEQ key value")),
    "auth": (b"AUTH\nAUTH a\nAUTH a b\nGET a\n",
             usage(b"AUTH name password") * 2 + b"ERROR: no users are configured\n" + MISSING),
    "help-takes-no-words": (b"HELP me\n", usage(b"HELP")),
}


def test_every_verb_has_a_dialogue():
    rows = (harness.SOURCE_TREE / "src/kv/commands.c").read_text()
    requests = b"\n".join(request for request, _ in DIALOGUES.values())
    for verb in re.findall(r'\bNAME\("(\w+)"\)', rows):
        assert re.search(rb"^%s\b" % verb.encode(), requests, re.M), verb


@pytest.mark.parametrize("request_, answer", DIALOGUES.values(), ids=DIALOGUES.keys())
def test_dialogue(kv, request_, answer):
    assert kv.exchange(request_, half_close=True) == answer


@every_stream
def test_server_speaks_first_on_every_transport(echod, listen):
    with echod({"kv": {"listen": listen}}).kv() as client:
        assert client.ask(b"SET a 1") == b"OK"
        assert client.ask(b"GET a") == b"1"
        assert client.ask(b"QUIT") == b"BYE"
        assert client.rest() == b""


def test_clients_on_all_transports_share_one_store(echod):
    server = echod({"kv": {"listen": ["tcp://127.0.0.1:0", UNIX]}})
    with server.kv(transport="tcp") as writer, server.kv(transport="unix") as reader:
        assert writer.ask(b"SET a 1") == b"OK"
        assert reader.ask(b"GET a") == b"1"


def test_instances_have_stores_of_their_own(echod):
    server = echod({"one": {"type": "kv", "listen": "unix://$DIR/1"},
                    "two": {"type": "kv", "listen": "unix://$DIR/2"}})  # fmt: skip
    with server.kv("one") as one, server.kv("two") as two:
        assert one.ask(b"SET a 1") == b"OK"
        assert two.ask(b"GET a") == b"NOT_FOUND"


def test_data_survive_their_client(echod):
    server = store(echod)
    with server.kv() as client:
        client.ask(b"SET a 1")
    server.wait_closed("client_eof")
    with server.kv() as client:
        assert client.ask(b"GET a") == b"1"


def test_quit_is_the_logged_reason(echod):
    server = store(echod)
    with server.kv() as client:
        client.ask(b"QUIT")
    server.wait_closed("quit")


def test_nothing_after_quit_is_executed(echod):
    server = store(echod)
    with server.kv() as quitter:
        quitter.send(b"QUIT\nSET a 1\n")
        assert quitter.rest() == b"BYE\n"
    with server.kv() as client:
        assert client.ask(b"GET a") == b"NOT_FOUND"


def test_a_half_line_is_not_executed(echod):
    server = store(echod)
    with server.kv() as half:
        half.send(b"SET a 1")
        half.half_close()
        assert half.rest() == b""
    with server.kv() as client:
        assert client.ask(b"GET a") == b"NOT_FOUND"


@every_stream
def test_a_client_that_still_sends_gets_its_goodbye(echod, listen):
    with echod({"kv": {"listen": listen}}).kv() as client:
        client.send(b"QUIT\n" + b"x" * 100_000)
        client.send_some(b"y" * 1_000_000)
        assert client.rest() == b"BYE\n"


def test_every_byte_in_key_and_value(kv):
    plain = bytes(byte for byte in range(256) if byte not in b"\t\n\v\f\r ")
    assert kv.ask(b"SET " + plain + b" " + plain) == b"OK"
    assert kv.ask(b"GET " + plain) == plain


# --- pipelines and splits ---


@every_stream
def test_100000_pipelined_commands_are_answered_in_order(echod, listen):
    requests = b"".join(b"SET key%d value%d\nGET key%d\n" % (n, n, n) for n in range(50_000))
    answers = b"".join(b"OK\nvalue%d\n" % n for n in range(50_000))
    with echod({"kv": {"listen": listen}}).kv() as client:
        assert client.exchange(requests, half_close=True) == answers


SCRIPT = (
    b"SET a 1\nGET a\r\n\n  SET b  two words \r\nGET b\nDEL a\nGET a\nNONSENSE\nGET\nquit\nGET b\n"
)
SCRIPT_ANSWERS = (
    b"OK\n1\nERROR: empty command\nOK\ntwo words\nDELETED\nNOT_FOUND\n"
    b"ERROR: unknown command\nERROR: unknown command\nBYE\n"
)


def test_bytes_that_come_one_by_one(kv):
    script = SCRIPT[: SCRIPT.index(b"quit") + len(b"quit\n")]
    for byte in script:
        kv.send_read(bytes([byte]))
    assert kv.rest() == SCRIPT_ANSWERS


def test_every_split_in_two(echod):
    server = store(echod)
    for at in range(1, SCRIPT.index(b"quit")):
        with server.kv() as client:
            client.send_read(SCRIPT[:at])
            client.send(SCRIPT[at:])
            assert client.rest() == SCRIPT_ANSWERS, f"split before byte {at}"
        with server.kv() as client:
            client.ask(b"DEL b")


def test_a_pipeline_of_large_values_reaches_a_client_that_reads(echod):
    server = store(echod, max_value=60_000)
    value = os.urandom(30_000).hex().encode()
    with server.kv() as client:
        assert client.ask(b"SET big " + value) == b"OK"
        answers = client.exchange(b"GET big\n" * 500, half_close=True)
        assert answers == (value + b"\n") * 500


# --- limits ---


def test_key_over_the_limit(echod):
    with store(echod, max_key=8).kv() as client:
        assert client.ask(b"SET 12345678 x") == b"OK"
        assert client.ask(b"SET 123456789 x") == b"ERROR: key too long"
        assert client.ask(b"GET 123456789") == b"ERROR: key too long"
        assert client.ask(b"DEL 123456789") == b"ERROR: key too long"
        assert client.ask(b"GET 12345678") == b"x"


def test_default_key_limit_is_250(kv):
    assert kv.ask(b"SET " + b"k" * 250 + b" x") == b"OK"
    assert kv.ask(b"SET " + b"k" * 251 + b" x") == b"ERROR: key too long"


def test_value_over_the_limit(echod):
    with store(echod, max_value=8).kv() as client:
        assert client.ask(b"SET a 12345678") == b"OK"
        assert client.ask(b"SET a 123456789") == b"ERROR: value too long"
        assert client.ask(b"GET a") == b"12345678"


def test_line_over_the_limit_is_skipped_to_its_end(echod):
    with store(echod, max_line=300).kv() as client:
        assert client.ask(b"SET a " + b"v" * 280) == b"OK"
        assert client.ask(b"SET b " + b"v" * 310) == b"ERROR: line too long"
        assert client.ask(b"SET b " + b"v" * 1_000_000) == b"ERROR: line too long"
        assert client.ask(b"GET b") == b"NOT_FOUND"
        assert client.ask(b"GET a") == b"v" * 280


def test_line_over_the_limit_that_comes_in_pieces_is_one_error(echod):
    with store(echod, max_line=300).kv() as client:
        for _ in range(20):
            client.send_read(b"v" * 100)
        client.send(b"\nGET a\n")
        assert client.lines(2) == [b"ERROR: line too long\n", MISSING]


def test_default_line_limit_lets_the_largest_value_through_that_fits(kv):
    value = b"v" * 65_000
    assert kv.ask(b"SET a " + value) == b"OK"
    assert kv.ask(b"GET a") == value
    assert kv.ask(b"SET a " + b"v" * 66_000) == b"ERROR: line too long"


def test_full_store_refuses_and_keeps_what_it_has(echod):
    with store(echod, max_memory="1M").kv() as client:
        value = b"v" * 1000
        answers = [client.ask(b"SET key%d %s" % (n, value)) for n in range(1200)]
        stored = answers.count(b"OK")
        assert 500 < stored < 1100
        # At the edge one key may need room in the index that the next one does not.
        assert set(answers[stored + 20:]) == {b"ERROR: store is full"}
        assert client.ask(b"GET key0") == value
        assert client.ask(b"SET key0 " + b"w" * 9000) == b"ERROR: store is full"
        assert client.ask(b"GET key0") == value
        for n in range(20):
            assert client.ask(b"DEL key%d" % n) == b"DELETED"
        assert client.ask(b"SET fresh " + value) == b"OK"


# --- impostors: other protocols on this port ---


HTTP = b"ERROR: this is the echod key-value port, not HTTP\n"
TLS = b"ERROR: this is the echod key-value port, not TLS\n"
RESP = b"ERROR: this is the echod key-value port, not RESP\n"
EVIL = b"SET evil 1\r\n"

IMPOSTORS = {
    "http-get": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + EVIL, HTTP),
    "http-1.0": (b"GET /index.html HTTP/1.0\r\n\r\n" + EVIL, HTTP),
    "http-post": (b"POST /a HTTP/1.1\r\nContent-Length: 12\r\n\r\n" + EVIL, HTTP),
    "http-put": (b"PUT /a HTTP/1.1\r\n" + EVIL, HTTP),
    "http-head": (b"HEAD / HTTP/1.1\r\n" + EVIL, HTTP),
    "http-delete": (b"DELETE /a HTTP/1.1\r\n" + EVIL, HTTP),
    "http-options": (b"OPTIONS * HTTP/1.1\r\n" + EVIL, HTTP),
    "http-patch": (b"PATCH /a HTTP/1.1\r\n" + EVIL, HTTP),
    "http-connect": (b"CONNECT a:80 HTTP/1.1\r\n" + EVIL, HTTP),
    "http-trace": (b"TRACE / HTTP/1.1\r\n" + EVIL, HTTP),
    "http-2-preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + EVIL, HTTP),
    "http-later-on": (b"GET a\nPOST / HTTP/1.1\r\n" + EVIL, MISSING + HTTP),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\n" + EVIL, TLS),
    "tls-1.3": (b"\x16\x03\x03 a b\n" + EVIL, TLS),
    "resp": (b"*3\r\n$3\r\nSET\r\n$4\r\nevil\r\n$1\r\n1\r\n" + EVIL, RESP),
    "resp-ping": (b"*1\r\n$4\r\nPING\r\n" + EVIL, RESP),
}


def test_refused_sets_are_logged_at_their_begin_and_end(echod):
    server = store(echod, max_memory="1M")
    with server.kv() as client:
        answers, number = [b"OK"], 0
        while answers[-1] == b"OK":
            answers.append(client.ask(b"SET key%d " % number + b"v" * 9000))
            number += 1
        for _ in range(4):
            assert client.ask(b"SET more " + b"v" * 9000) == b"ERROR: store is full"
        assert client.ask(b"SET key0 " + b"w" * 9000) == b"OK", "this needs no memory"
        for key in range(10):
            assert client.ask(b"DEL key%d" % key) == b"DELETED"
        assert client.ask(b"SET more " + b"v" * 9000) == b"OK"
    server.log.wait(r" info kv: the store takes all changes again; 5 were refused$")
    assert len(server.log.matches(r" warning kv: the store is full, changes that need memory are refused")) == 1
    assert len(server.log.matches("takes all changes again")) == 1


def test_a_store_that_refuses_is_a_problem_of_status(echod):
    """Also if its memory is far from the limit, and other changes still find room."""
    server = echod({"kv": {"listen": "unix://$DIR/kv", "max_memory": "1M",
                           "max_value": "512K", "max_line": "512K"},
                    "control": {"listen": "unix://$DIR/control"}})  # fmt: skip

    def problems():
        with server.connect("control") as control:
            return json.loads(control.ask(b"-j status"))["problems"]

    with server.kv("kv") as client:
        assert client.ask(b"SET small 1") == b"OK"
        assert problems() == []
        assert client.ask(b"SET a " + b"v" * 400_000) == b"OK"
        assert client.ask(b"SET b " + b"v" * 500_000) == b"OK"
        assert problems() == []
        assert client.ask(b"SET c " + b"v" * 400_000) == b"ERROR: store is full"
        assert client.ask(b"SET more 1") == b"OK"
        assert client.ask(b"DEL a") == b"DELETED"
        assert client.ask(b"SET c 1") == b"OK"
    assert problems() == ["kv: its memory is full: it has refused changes within the last minute"]


@pytest.mark.parametrize("request_, answer", IMPOSTORS.values(), ids=IMPOSTORS.keys())
def test_impostor_is_told_so_and_executes_nothing(echod, request_, answer):
    server = store(echod)
    with server.kv() as impostor:
        impostor.send(request_)
        assert impostor.rest() == answer
    server.wait_closed("protocol")
    with server.kv() as client:
        assert client.ask(b"GET evil") == b"NOT_FOUND"


HARMLESS = {
    "http-as-a-value": (b"SET note HTTP/1.1\n", OK),
    "http-method-in-four-words": (b"POST / x HTTP/1.1\n", UNKNOWN),
    "other-http-version": (b"POST / HTTP/1.11\n", UNKNOWN),
    "no-http-method": (b"\nFETCH / HTTP/1.1\n", EMPTY + UNKNOWN),
    "no-path": (b"FETCH x HTTP/1.1\n", UNKNOWN),
    "set-later-on": (b"\nSET /x HTTP/1.1\n", EMPTY + OK),
    "star-later-on": (b"\n*1\n", EMPTY + UNKNOWN),
    "star-and-no-number": (b"*x\n", UNKNOWN),
    "tls-later-on": (b"\n\x16\x03\x01\n", EMPTY + UNKNOWN),
}


@pytest.mark.parametrize("request_, answer", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_only_resembles_another_protocol_goes_on(kv, request_, answer):
    kv.send(request_ + b"GET a\n")
    assert kv.exactly(len(answer + MISSING)) == answer + MISSING


def test_a_tls_greeting_without_a_line_end_is_told_at_once(echod):
    with store(echod, line_timeout=0).kv() as client:
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert client.line() == b"ERROR: this is the echod key-value port, not TLS\n"
        assert client.rest() == b""


def test_a_line_longer_than_what_may_wait_otherwise(echod):
    value = b"v" * 500000
    with store(echod, max_line="512K", max_value="512K", max_memory="4M").kv() as client:
        assert client.ask(b"SET a " + value) == b"OK"
        assert client.ask(b"GET a") == value
