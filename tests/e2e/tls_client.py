"""
A client over TLS that holds the ciphertext: it can send it byte by byte, damage it, or write records of its own. All that the
daemon sends is kept, so that a test can show that none of it was in the clear.
"""

import ctypes
import ctypes.util
import hmac
import os
import ssl
import struct
import tempfile

import harness

HANDSHAKE, ALERT, DATA = 22, 21, 23
RECORD = 16384
IGNORE_UNEXPECTED_EOF = 1 << 7  # of OpenSSL; Python sets it, and has no name for it
CLOSE_NOTIFY = b"\1\0"
KEY_UPDATE, KEY_UPDATE_REQUESTED = b"\x18\0\0\1\0", b"\x18\0\0\1\1"


def trusting(authority, version=None):
    """What a client needs to know of the daemon; `version` is the only one that it speaks."""
    context = ssl.create_default_context(cafile=authority.pem)
    context.options &= ~IGNORE_UNEXPECTED_EOF  # an end without close_notify raises
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def records(bytes_):
    """The records in what one side has sent: (type, payload); fails at anything else."""
    found = []
    while bytes_:
        kind, version, length = struct.unpack_from("!BHH", bytes_)
        assert 20 <= kind <= 23 and version >> 8 == 3, f"not a record: {bytes_[:80]!r}"
        assert length <= RECORD + 256, f"a record of {length} bytes"
        assert len(bytes_) >= 5 + length, f"{len(bytes_) - 5} of a record of {length} bytes"
        found.append((kind, bytes_[5 : 5 + length]))
        bytes_ = bytes_[5 + length :]
    return found


class Client(harness.Stream):
    """Like harness.Stream; half_close() sends close_notify, and no FIN."""

    def __init__(self, address, context, handshake=True, session=None, **options):
        super().__init__(address, **options)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="127.0.0.1", session=session)
        self.seen = []  # all that the daemon has sent
        if handshake:
            self.handshake()

    # The bytes of TLS

    def handshake(self, send=None):
        """`send` sends our flights."""
        self._call(self.tls.do_handshake, send)
        self.flush(send)

    def flush(self, send=None):
        """Sends what OpenSSL has for the daemon."""
        if self.outgoing.pending:
            (send or self.send_raw)(self.outgoing.read())

    def send_raw(self, data):
        self.sock.sendall(data)

    def send_raw_read(self, data):
        self.send_raw(data)
        harness.wait_until(lambda: self.unread() == 0, "the daemon reads")

    def seal(self, data):
        """The record that OpenSSL makes of the data."""
        assert self.outgoing.pending == 0
        self.tls.write(data)
        return self.outgoing.read()

    def receive_raw(self):
        """Whatever has come; b"" at the end."""
        data = self.sock.recv(1 << 18)
        self.seen.append(data)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
        return data

    def _call(self, call, send=None):
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self.flush(send)
                self.receive_raw()

    def expect_only_records(self):
        """Reads to the end of the connection; an end in the middle of a record fails, too."""
        while self.receive_raw():
            pass
        return records(b"".join(self.seen))

    # As harness.Stream has it

    def send(self, data):
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view[:RECORD]) :]
        self.flush()

    def _read(self):
        try:
            return self.tls.read(1 << 18)
        except ssl.SSLZeroReturnError:
            return b""  # the daemon's close_notify; without it, the end raises SSLEOFError

    def more(self):
        data = self._call(self._read)
        self.flush()
        self.buffered += data
        return data

    def rest(self):
        """All until the daemon's close_notify."""
        pieces = [self.take(len(self.buffered))]
        while self.more():
            pieces.append(self.take(len(self.buffered)))
        return b"".join(pieces)

    def exchange(self, data, length):
        """Sends and reads at the same time, until so many bytes have come."""
        self.send(b"")
        self.sock.setblocking(False)
        sealed = memoryview(b"".join(self.seal(data[i : i + RECORD]) for i in range(0, len(data), RECORD)))
        while len(self.buffered) < length:
            readable, writable, _ = harness.select.select(
                [self.sock], [self.sock] if sealed else [], [], harness.DEADLINE)
            assert readable or writable, f"{len(sealed)} bytes not sent, {len(self.buffered)} received"
            if writable:
                sealed = sealed[self.sock.send(sealed[:65536]) :]
            if readable:
                assert self.receive_raw(), f"the connection ended after {len(self.buffered)} bytes"
                try:
                    while piece := self.tls.read(1 << 18):
                        self.buffered += piece
                except ssl.SSLWantReadError:
                    pass
        self.sock.settimeout(harness.DEADLINE)
        return self.take(length)

    def half_close(self):
        try:
            while self.incoming.pending:  # or unwrap() might find data, and fail
                self.buffered += self.tls.read(1 << 18)
        except ssl.SSLWantReadError:
            pass
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.flush()

    def fin(self):
        """The end of the connection without a word of TLS."""
        super().half_close()


# --- records of our own ---


class Crypto:
    """Of libcrypto, what Python has not: AES-GCM."""

    def __init__(self):
        self.library = ctypes.CDLL(ctypes.util.find_library("crypto"))
        for name in ("EVP_CIPHER_CTX_new", "EVP_aes_128_gcm", "EVP_aes_256_gcm"):
            getattr(self.library, name).restype = ctypes.c_void_p

    def encrypt(self, key, nonce, head, text):
        lib, length = self.library, ctypes.c_int()
        out, tag = ctypes.create_string_buffer(len(text) + 16), ctypes.create_string_buffer(16)
        cipher = ctypes.c_void_p((lib.EVP_aes_128_gcm if len(key) == 16 else lib.EVP_aes_256_gcm)())
        context = ctypes.c_void_p(lib.EVP_CIPHER_CTX_new())
        done = (lib.EVP_EncryptInit_ex(context, cipher, None, key, nonce),
                lib.EVP_EncryptUpdate(context, None, ctypes.byref(length), head, len(head)),
                lib.EVP_EncryptUpdate(context, out, ctypes.byref(length), text, len(text)),
                lib.EVP_EncryptFinal_ex(context, tag, ctypes.byref(length)),
                lib.EVP_CIPHER_CTX_ctrl(context, 0x10, 16, tag))  # EVP_CTRL_AEAD_GET_TAG
        lib.EVP_CIPHER_CTX_free(context)
        assert set(done) == {1}
        return out.raw[: len(text)] + tag.raw


class Writer:
    """
    Writes the records of a client after its handshake: of any type and content, well encrypted. TLS 1.3 only, and the
    client must not send by itself any more.
    """

    crypto = None

    def __init__(self, client, secret):
        self.client = client
        name = client.tls.cipher()[0]
        self.hash = "sha384" if name.endswith("384") else "sha256"
        self.key_length = 32 if "256_GCM" in name else 16
        self._use(secret)
        Writer.crypto = Writer.crypto or Crypto()

    def _expand(self, label, length):
        label = b"tls13 " + label
        info = struct.pack("!HB", length, len(label)) + label + b"\0"
        return hmac.digest(self.secret, info + b"\1", self.hash)[:length]

    def _use(self, secret):
        self.secret, self.sequence = secret, 0
        self.key, self.iv = self._expand(b"key", self.key_length), self._expand(b"iv", 12)

    def record(self, kind, content, padding=0):
        text = content + bytes([kind]) + bytes(padding)
        head = struct.pack("!BHH", DATA, 0x0303, len(text) + 16)
        nonce = int.from_bytes(self.iv, "big") ^ self.sequence
        self.sequence += 1
        return head + self.crypto.encrypt(self.key, nonce.to_bytes(12, "big"), head, text)

    def key_update(self, request=False):
        """One record; those behind it have the next key."""
        made = self.record(HANDSHAKE, KEY_UPDATE_REQUESTED if request else KEY_UPDATE)
        self._use(self._expand(b"traffic upd", len(self.secret)))
        return made


def writer(address, context, **options):
    """A client after its handshake, and its writer."""
    with tempfile.NamedTemporaryFile("r") as secrets:
        context.keylog_filename = secrets.name
        client = Client(address, context, **options)
        lines = [line.split() for line in secrets if line.startswith("CLIENT_TRAFFIC_SECRET_0")]
        context.keylog_filename = os.devnull
    return client, Writer(client, bytes.fromhex(lines[-1][2]))
