"""Promise: drivers of other languages work as they are, over TLS with SCRAM-SHA-256.

PostgreSQL's JDBC driver (JdbcClient.java), npm's pg and postgres (npm_clients.js), psqlODBC through
pyodbc, and SQLAlchemy: parameters and results as text and binary, cursors, COPY, errors, cancels and
browsing. One tallyd with a certificate and an operator's token serves them all.
"""
import contextlib
import datetime
import os
import shutil
import subprocess
import sys
import tempfile

import harness
from harness import HERE, NOW_US, Tallyd, append, request, rpc, run

JDBC = "/usr/share/java/postgresql.jar"
ODBC = "/usr/lib/x86_64-linux-gnu/odbc/psqlodbcw.so"
USER = "boss"
NOW = datetime.datetime.fromtimestamp(NOW_US // 1_000_000, datetime.timezone.utc)


class Served:
    """Where the server is, and who may come in."""

    def __init__(self, server, cert, password):
        self.host, self.port = server.pg.rsplit(":", 1)
        self.cert, self.password = cert, password


@contextlib.contextmanager
def served():
    """A server over TLS that holds 100 events of merchant 1 and 100 of merchant 2."""
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        os.mkdir(data)
        with Tallyd(data=data) as server, server.channel() as channel:
            for merchant in (1, 2):
                append(rpc.IngestStub(channel), [request(100, b"p", merchant, merchant=merchant)])
        key, cert = harness.certificate(folder)
        password = harness.token(data, USER, "--operator")
        with Tallyd(data=data, args=["--tls-cert", cert, "--tls-key", key]) as server:
            yield Served(server, cert, password)


def program(*command, **more):
    """Runs a client that prints a line per test and ends with 0 when all pass."""
    r = subprocess.run(command, capture_output=True, text=True, timeout=240, **more)
    print(r.stdout, end="")
    assert r.returncode == 0, r.stderr[-2000:]


def jdbc():
    with served() as s:
        url = "jdbc:postgresql://%s:%s/tally?sslmode=verify-full&sslrootcert=%s" % (s.host, s.port, s.cert)
        program("java", "-cp", JDBC, os.path.join(HERE, "JdbcClient.java"), url, USER, s.password)


def npm():
    modules = subprocess.run([os.path.join(HERE, "node_packages")], capture_output=True, text=True, check=True,
                             env=dict(os.environ, TALLY_BUILD=harness.BUILD)).stdout.strip()
    with served() as s:
        program("node", os.path.join(HERE, "npm_clients.js"), s.host, s.port, USER, s.password, s.cert, modules)


def odbc():
    import pyodbc
    with served() as s:
        conninfo = ("Driver=%s;Server=%s;Port=%s;Database=tally;UID=%s;PWD=%s;SSLmode=verify-full;"
                    "pqopt={sslrootcert=%s};" % (ODBC, s.host, s.port, USER, s.password, s.cert))
        for fetch in ("", "UseDeclareFetch=1;Fetch=7;"):
            db = pyodbc.connect(conninfo + fetch, autocommit=True)
            c = db.cursor()
            c.execute("SELECT merchant_id, count(*), max(path) FROM events WHERE merchant_id = ? AND path = ? "
                      "GROUP BY 1", 2, "/")
            assert [tuple(r) for r in c.fetchall()] == [(2, 100, "/")]
            c.execute("SELECT merchant_id FROM events ORDER BY 1")
            assert [r[0] for r in c.fetchall()] == [1] * 100 + [2] * 100
            c.execute("SELECT CAST(? AS text), CAST(? AS integer), 1.5::float8, true, DATE '2024-02-29', NULL::text",
                      "café", -7)
            row = c.fetchone()
            assert (row[0], row[1], row[2], row[4], row[5]) == \
                ("café", -7, 1.5, datetime.date(2024, 2, 29), None), row
            try:
                c.execute("SELECT nothing FROM events")
                raise AssertionError("there is no such column")
            except pyodbc.Error as e:
                assert e.args[0] == "42703", e.args
            assert "events" in [r.table_name for r in c.tables(schema="public")]
            columns = {r.column_name: r.type_name for r in c.columns(table="events", schema="public")}
            assert columns["merchant_id"] == "int8" and columns["path"] == "text", columns
            db.close()


def sqlalchemy():
    import sqlalchemy as sa
    with served() as s:
        engine = sa.create_engine("postgresql+psycopg2://%s:%s@%s:%s/tally?sslmode=verify-full&sslrootcert=%s"
                                  % (USER, s.password, s.host, s.port, s.cert))
        events = sa.Table("events", sa.MetaData(), autoload_with=engine)
        assert not events.c.merchant_id.nullable and isinstance(events.c.path.type, sa.Text)
        assert isinstance(events.c.ts.type, sa.TIMESTAMP) and events.c.ts.type.timezone
        with engine.connect() as db:
            asked = sa.select(events.c.merchant_id, sa.func.count(), sa.func.min(events.c.ts)) \
                .where(events.c.merchant_id.in_([1, 2]), events.c.ts >= NOW) \
                .group_by(events.c.merchant_id).order_by(events.c.merchant_id)
            assert db.execute(asked).fetchall() == [(1, 100, NOW), (2, 100, NOW)]
            streamed = db.execution_options(stream_results=True, max_row_buffer=30)
            assert len(streamed.execute(sa.select(events.c.ts)).fetchall()) == 200


if __name__ == "__main__":
    missing = [p for p in (JDBC, ODBC) if not os.path.exists(p)]
    missing += [p for p in ("java", "node", "npm") if not shutil.which(p)]
    if missing:
        print("clients: not installed: %s; run tools/bootstrap" % ", ".join(missing))
        sys.exit(77)
    run([jdbc, npm, odbc, sqlalchemy])
