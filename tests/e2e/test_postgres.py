"""Promise: clients of PostgreSQL connect as they are: psql, psycopg2 and psycopg 3.

Over plain sockets, the Unix socket and TLS with SCRAM-SHA-256; simple and prepared statements,
parameters and results as text and binary, cursors, COPY both ways, cancels, errors with SQLSTATE and
position; a merchant's token sees that merchant's rows. Each test starts a tallyd of its own.
"""
import datetime
import decimal
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time

try:
    import psycopg
    import psycopg2
except ImportError:
    print("postgres: python3-psycopg and python3-psycopg2 are not installed")
    sys.exit(77)

import harness
from harness import NOW_US, Tallyd, append, request, rpc, run

UTC = datetime.timezone.utc
NOW = datetime.datetime.fromtimestamp(NOW_US // 1_000_000, UTC)


def port(server):
    return server.pg.rsplit(":", 1)[1]


def url(server, user="tally", **more):
    return " ".join("%s=%s" % kv for kv in dict(
        {"host": "127.0.0.1", "port": port(server), "user": user, "dbname": "tally"}, **more).items())


def fill(server, merchants=(1, 2), rows=100):
    with server.channel() as channel:
        for m in merchants:
            append(rpc.IngestStub(channel), [request(rows, b"p", m, merchant=m)])


def psql(conninfo, *commands, expect=0, env=None, stdin=None):
    args = ["psql", "-X", "-q", "-A", "-t", "-v", "VERBOSITY=verbose", conninfo]
    for c in commands:
        args += ["-c", c]
    r = subprocess.run(args, capture_output=True, text=True, timeout=60, input=stdin,
                       env=dict(os.environ, **(env or {})))
    assert r.returncode == expect, (commands, r)
    return r.stdout if expect == 0 else r.stderr


def psql_asks():
    with Tallyd() as server:
        fill(server)
        assert psql(url(server), "SELECT merchant_id, count(*) FROM events GROUP BY 1 ORDER BY 1") == \
            "1|100\n2|100\n"
        text = psql(url(server), "SELECT count(*),\n  nothing FROM events", expect=1)
        assert "42703" in text and "LINE 2:   nothing" in text, text
        assert psql(url(server), "BEGIN; SELECT 1; SELECT 2; COMMIT").split() == ["1", "2"]
        assert psql(url(server), "SET TimeZone = 'Asia/Kolkata'",
                    "SELECT min(ts) FROM events") .strip().endswith("+05:30")
        local = "host=%s port=%s user=tally dbname=tally" % (server.data, port(server))
        assert psql(local, "SELECT count(*) FROM events") == "200\n"
        assert psql(url(server), "COPY (SELECT merchant_id, path FROM events ORDER BY 1 LIMIT 2) TO "
                    "STDOUT WITH (FORMAT csv, HEADER)") == "merchant_id,path\n1,/\n1,/\n"


def psycopg2_asks():
    with Tallyd() as server:
        fill(server)
        with psycopg2.connect(url(server)) as db, db.cursor() as c:
            c.execute("SELECT merchant_id, count(*), min(ts), sum(duration_ms), max(path) FROM events "
                      "WHERE merchant_id = %s GROUP BY 1", (2,))
            assert c.fetchall() == [(2, 100, NOW, None, "/")]
            c.execute("SELECT 1.50::numeric(10,2), true, DATE '2024-02-29', 2.5::float8, NULL")
            assert c.fetchone() == (decimal.Decimal("1.50"), True, datetime.date(2024, 2, 29), 2.5, None)
            try:
                c.execute("SELECT 1/0")
                raise AssertionError("it divided by zero")
            except psycopg2.errors.DivisionByZero:
                db.rollback()
            with db.cursor("named") as named:
                named.itersize = 30
                named.execute("SELECT ts FROM events ORDER BY 1")
                assert len(named.fetchall()) == 200


def psycopg3_asks():
    with Tallyd() as server:
        fill(server)
        for binary in (False, True):
            with psycopg.connect(url(server)) as db, db.cursor(binary=binary) as c:
                for i in range(8):  # from the fifth on a prepared statement
                    c.execute("SELECT merchant_id, count(*), min(ts), max(path) FROM events "
                              "WHERE merchant_id = %s AND path = %s GROUP BY 1", (1 + i % 2, "/"))
                    assert c.fetchall() == [(1 + i % 2, 100, NOW, "/")]
                c.execute("SELECT %s::numeric, %s::bool, %s::date, %s::float8, %s::text, %s::bigint",
                          (decimal.Decimal("-12.3400"), False, datetime.date(1969, 12, 31), -0.25,
                           "caf\u00e9", 2**62))
                assert c.fetchone() == (decimal.Decimal("-12.3400"), False, datetime.date(1969, 12, 31),
                                        -0.25, "caf\u00e9", 2**62)
                try:
                    c.execute("SELECT nothing FROM events")
                    raise AssertionError("there is no such column")
                except psycopg.errors.UndefinedColumn as e:
                    assert e.diag.statement_position == "8", e.diag.statement_position
                    db.rollback()
                # One snapshot for a block of statements.
                c.execute("SELECT count(*) FROM events")
                before = c.fetchone()
                with server.channel() as channel:
                    append(rpc.IngestStub(channel), [request(7, b"q", 1 + binary, merchant=9)])
                c.execute("SELECT count(*) FROM events")
                assert c.fetchone() == before
                db.commit()
                c.execute("SELECT count(*) FROM events")
                assert c.fetchone() == (before[0] + 7,)


def binary_arrays():
    with Tallyd() as server, psycopg.connect(url(server), autocommit=True) as db:
        for values, type_name in (([1, None, -3], "int8"), (["a", None, "b\"c", ""], "text"), ([], "text"),
                                  ([True, False], "bool"), ([0.5, None], "float8")):
            got = db.execute("SELECT %%b::%s[], array_length(%%b::%s[], 1)" % (type_name, type_name),
                             (values, values), binary=True).fetchone()
            assert got == (values, len(values) or None), (values, got)
        whole = struct.pack(">IIIII", 1, 0, 20, 2, 1) + struct.pack(">IqIq", 8, 7, 8, 8)
        broken = [whole[:n] for n in range(len(whole))] + [
            whole + b"\0",
            struct.pack(">IIIII", 1, 0, 20, 0x7fffffff, 1),  # more elements than bytes
            struct.pack(">IIIII", 1, 2, 20, 0, 1),
            struct.pack(">IIIIII", 1, 0, 20, 1, 1, 0xfffffffe),
        ]
        ask = lambda data: db.pgconn.exec_params(b"SELECT array_length($1, 1)", [data], [1016], [1])  # noqa: E731
        assert ask(whole).get_value(0, 0) == b"2"
        for data in broken:
            code = ask(data).error_field(psycopg.pq.DiagnosticField.SQLSTATE)
            assert code == b"22P03", (data, code)
        many = struct.pack(">IIIIIII", 2, 0, 20, 0, 1, 0, 1)
        assert ask(many).error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"0A000"


def copy_in_and_out():
    with Tallyd() as server, psycopg.connect(url(server), autocommit=True) as db:
        c = db.cursor()
        with c.copy("COPY events (merchant_id, ts, path, revenue) FROM STDIN") as copy:
            for i in range(5000):
                copy.write_row((i % 7, NOW + datetime.timedelta(seconds=i), "/p\t%d" % i if i % 3 else None,
                                decimal.Decimal(i) / 4))
        assert c.rowcount == 5000, c.rowcount
        c.execute("SELECT count(*), count(path), sum(revenue) FROM events")
        n, paths, revenue = c.fetchone()
        assert (n, paths, revenue) == (5000, sum(1 for i in range(5000) if i % 3),
                                       decimal.Decimal(sum(range(5000))) / 4)
        with c.copy("COPY (SELECT merchant_id, path FROM events ORDER BY ts) TO STDOUT") as copy:
            rows = list(copy.rows())
        assert len(rows) == 5000 and rows[1] == ("1", "/p\t1") and rows[0] == ("0", None), rows[:2]
        try:
            with c.copy("COPY events (merchant_id, ts) FROM STDIN") as copy:
                copy.write(b"1\tyesterday-ish\n")
            raise AssertionError("that is no time")
        except psycopg.DataError:
            pass
        c.execute("SELECT count(*) FROM events")
        assert c.fetchone() == (5000,)


def queries_are_cancelled():
    with Tallyd() as server:
        fill(server, rows=2000)
        with psycopg.connect(url(server), autocommit=True) as db:
            threading.Timer(0.3, db.cancel).start()
            begun = time.time()
            try:
                db.execute("SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b")
                raise AssertionError("it came to its end")
            except psycopg.errors.QueryCanceled:
                assert time.time() - begun < 60
            assert db.execute("SELECT 1").fetchone() == (1,)


def tls_and_scram():
    with tempfile.TemporaryDirectory() as folder:
        key, cert = harness.certificate(folder)
        data = os.path.join(folder, "data")
        os.mkdir(data)
        made = {"boss": harness.token(data, "boss", "--operator"),
                "shop": harness.token(data, "shop", "--merchant", "2")}
        with Tallyd(data=data, args=["--tls-cert", cert, "--tls-key", key]) as server:
            secure = {"sslmode": "verify-full", "sslrootcert": cert}
            copy = "COPY events (merchant_id, ts, path) FROM STDIN WITH (FORMAT csv)"
            psql(url(server, "boss", **secure), copy, env={"PGPASSWORD": made["boss"]},
                 stdin="1,2024-06-01 00:00:00+00,/a\n2,2024-06-01 00:00:01+00,/b\n")
            count = "SELECT count(*) FROM events"
            assert psql(url(server, "boss", **secure), count, env={"PGPASSWORD": made["boss"]}) == "2\n"
            for more in ({}, {"channel_binding": "require"}):
                assert psql(url(server, "shop", **secure, **more), count + " WHERE true OR merchant_id = 1",
                            env={"PGPASSWORD": made["shop"]}) == "1\n"
            for user, password in (("boss", made["shop"]), ("nobody", "x"), ("tally", "")):
                text = psql(url(server, user, **secure), count, env={"PGPASSWORD": password}, expect=2)
                assert "password" in text, text
            with psycopg2.connect(url(server, "shop", password=made["shop"], **secure)) as db:
                with db.cursor() as c:
                    c.execute("SELECT DISTINCT merchant_id FROM events")
                    assert c.fetchall() == [(2,)]


if __name__ == "__main__":
    run([psql_asks, psycopg2_asks, psycopg3_asks, binary_arrays, copy_in_and_out, queries_are_cancelled, tls_and_scram])
