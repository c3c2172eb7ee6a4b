"""Replays what clients sent to a PostgreSQL 15, as a recording proxy wrote it down.

A recording has a line per message: "F> Query 'SELECT …'", "F> Parse name='' oids=() '…'", "F> Bind …",
"F> Execute …", and what came back: "  <B RowDescription name:oid,…", "  <B CommandComplete SELECT 1",
"  <B Error b'S…'". Each exchange up to ReadyForQuery is sent again and must be answered in the same
way: the same columns with the same types, the same command, the same SQLSTATE. Rows are not compared,
since they are another server's.

usage: replay.py HOST PORT USER DATABASE FILE …
"""
import ast
import re
import socket
import struct
import sys


class Connection:
    """The least of a client of protocol 3.0: bytes out, messages in."""

    def __init__(self, host, port, user, database):
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.data = b""
        body = b"".join(x.encode() + b"\0" for x in ("user", user, "database", database)) + b"\0"
        self.socket.sendall(struct.pack("!ii", len(body) + 8, 196608) + body)
        answers = self.until_ready()
        assert not [a for a in answers if a[0] == "E"], answers

    def send(self, kind, body):
        self.socket.sendall(kind.encode() + struct.pack("!i", len(body) + 4) + body)

    def receive(self):
        while len(self.data) < 5 or len(self.data) < 1 + struct.unpack("!i", self.data[1:5])[0]:
            more = self.socket.recv(65536)
            assert more, "the server closed the connection"
            self.data += more
        size = 1 + struct.unpack("!i", self.data[1:5])[0]
        message, self.data = self.data[:size], self.data[size:]
        return message[:1].decode(), message[5:]

    def until_ready(self):
        answers = []
        while True:
            answers.append(self.receive())
            if answers[-1][0] in "ZG":
                return answers

    def close(self):
        self.send("X", b"")
        self.socket.close()


def columns(body):
    count, at, found = struct.unpack("!h", body[:2])[0], 2, []
    for _ in range(count):
        end = body.index(b"\0", at)
        binary = body[end + 18:end + 19] == b"\1"
        found.append("%s:%d%s" % (body[at:end].decode(), struct.unpack("!i", body[end + 7:end + 11])[0],
                                  "b" if binary else ""))
        at = end + 19
    return ",".join(found)


def sqlstate(body):
    return next((f[1:6].decode() for f in body.split(b"\0") if f[:1] == b"C"), "?")


def message(line):
    """A recorded message of the client -> (type, body); None: one that is not replayed."""
    kind, _, rest = line.partition(" ")
    text = lambda s: s.encode() + b"\0"
    if kind == "Query":
        return "Q", text(ast.literal_eval(rest))
    if kind == "Parse":
        m = re.match(r"name=('[^']*') oids=(\(.*?\)) (.*)$", rest, re.S)
        oids = ast.literal_eval(m.group(2))
        return "P", (text(ast.literal_eval(m.group(1))) + text(ast.literal_eval(m.group(3))) +
                     struct.pack("!h%di" % len(oids), len(oids), *oids))
    if kind == "Bind":
        m = re.match(r"portal=('[^']*') stmt=('[^']*') pfmt=(\(.*?\)) vals=(\[.*\]) rfmt=(\(.*?\))$", rest, re.S)
        portal, statement, formats, values, results = [ast.literal_eval(g) for g in m.groups()]
        body = text(portal) + text(statement) + struct.pack("!h%dh" % len(formats), len(formats), *formats)
        body += struct.pack("!h", len(values))
        for v in values:
            body += struct.pack("!i", -1) if v is None else struct.pack("!i", len(v)) + v
        return "B", body + struct.pack("!h%dh" % len(results), len(results), *results)
    if kind in ("Describe", "Close"):
        return kind[0], rest[:1].encode() + text(ast.literal_eval(rest[2:]))
    if kind == "Execute":
        m = re.match(r"portal=('[^']*') max=(\d+)$", rest)
        return "E", text(ast.literal_eval(m.group(1))) + struct.pack("!i", int(m.group(2)))
    if kind == "Sync":
        return "S", b""
    return None


def exchanges(path):
    """Lists of recorded lines, each up to a ReadyForQuery; the start is left out."""
    sent, answered, left = [], [], 0
    for line in open(path, encoding="utf-8"):
        line = line.rstrip("\n")
        if line.startswith("F> "):
            if line[3:].split(" ")[0] not in ("SSLRequest", "Startup", "Terminate", "CancelRequest"):
                sent.append(line[3:])
                left += line.startswith(("F> Query", "F> Sync"))
        elif line.startswith("  <B "):
            answered.append(line[5:])
            if line.startswith("  <B ReadyForQuery"):
                left -= 1
                if sent and left <= 0:  # a client may send the next before the last is answered
                    yield sent, answered
                if left <= 0:
                    sent, answered, left = [], [], 0


def wanted(answered):
    found = []
    for a in answered:
        kind, _, rest = a.partition(" ")
        if kind == "RowDescription":
            found.append("columns " + rest)
        elif kind == "CommandComplete":
            found.append("done " + rest.split(" ")[0])
        elif kind == "Error":
            found.append("error " + re.search(r"\\x00C(\w{5})", rest).group(1))
        elif kind in ("NoData", "EmptyQuery"):
            found.append(kind)
    return found


def given(answers):
    found = []
    for kind, body in answers:
        if kind == "T":
            found.append("columns " + columns(body))
        elif kind == "C":
            found.append("done " + body[:-1].decode().split(" ")[0])
        elif kind == "E":
            found.append("error " + sqlstate(body))
        elif kind == "n":
            found.append("NoData")
        elif kind == "I":
            found.append("EmptyQuery")
    return found


# The tables of the recordings: `events` is Tally's own, and there is no JSONB to store.
TABLES = """CREATE TABLE recorded (ts timestamptz NOT NULL, merchant_id bigint NOT NULL, url text,
            revenue numeric(12,2), ok boolean, v float8)"""
ROWS = "".join("2023-11-14 22:13:%02d+00,%d,/a,1.50,t,%g\n" % (i, i % 3, i) for i in range(10))
RENAMED = (r"\bevents\b", "recorded")
LEFT_OUT = re.compile(r"meta:3802b?,|,meta:3802b?|, meta\b")


def prepare(connection):
    """Makes the tables, once."""
    connection.send("Q", TABLES.encode() + b"\0")
    if "error 42P07" in given(connection.until_ready()):
        return
    connection.send("Q", b"COPY recorded FROM STDIN WITH (FORMAT csv)\0")
    connection.until_ready()
    connection.send("d", ROWS.encode())
    connection.send("c", b"")
    answers = connection.until_ready()
    assert "done COPY" in given(answers), answers


def replay(connection, path, skip=()):
    """What differs: (what was sent, what was wanted, what came, the error's text)."""
    different, count = [], 0
    for sent, answered in exchanges(path):
        sent = [LEFT_OUT.sub("", re.sub(*RENAMED, s)) for s in sent]
        answered = [LEFT_OUT.sub("", a) for a in answered]
        if any(s.startswith(("CopyData", "CopyDone")) for s in sent):
            continue
        messages = [message(s) for s in sent]
        if any("CopyIn" in a for a in answered) or any(s in " ".join(sent) for s in skip):
            continue
        for kind, body in messages:
            connection.send(kind, body)
        answers = []
        for kind, _ in messages:
            if kind in "QS":
                answers += connection.until_ready()
        count += 1
        if given(answers) != wanted(answered):
            text = [b.replace(b"\0", b" ").decode(errors="replace") for k, b in answers if k == "E"]
            different.append((sent, wanted(answered), given(answers), text))
    return different, count


if __name__ == "__main__":
    bad = 0
    for file in sys.argv[5:]:
        connection = Connection(*sys.argv[1:5])
        prepare(connection)
        found, total = replay(connection, file)
        connection.close()
        print("%s: %d of %d differ" % (file, len(found), total))
        for sent, want, got, text in found:
            print("  sent", " / ".join(s[:700] for s in sent), "\n  want", want, "\n  got ", got, text, "\n")
        bad += len(found)
    sys.exit(bad > 0)
