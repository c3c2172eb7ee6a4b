"""Random rows, the same in Tally and in DuckDB.

Values are chosen to meet edges: NULLs, empty texts, extremes, equal times, times around changes of
the clocks, merchants of one row and of many.
"""
import datetime
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from harness import Tallyd, append, column_values, grpc, int_column, pb, rpc, text_column  # noqa: E402,F401
import duckdb  # noqa: E402

COLUMNS = [  # name, kind, DuckDB's type
    ("merchant_id", "int", "BIGINT"),
    ("ts", "time", "TIMESTAMPTZ"),
    ("event_name", "text", "VARCHAR"),
    ("visitor_id", "text", "VARCHAR"),
    ("path", "text", "VARCHAR"),
    ("country", "text", "VARCHAR"),
    ("status", "int", "BIGINT"),
    ("duration_ms", "int", "BIGINT"),
    ("bytes", "int", "BIGINT"),
    ("revenue", "decimal", "DECIMAL(18,4)"),
    ("is_bot", "bool", "BOOLEAN"),
]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe",
         "America/St_Johns", "Pacific/Apia"]
TEXTS = {
    "event_name": ["pageview", "add_to_cart", "purchase", "a_b", "A%B", ""],
    "path": ["/", "/cart", "/shirts/blue", "/Shirts/Blue", "/a b", "/%25", "_", "/x" * 40, "/caf\u00e9",
             "/\u6771\u4eac", ""],
    "country": ["DE", "US", "FR", "IN", "AU"],
}


def microseconds(*when):
    return int(datetime.datetime(*when, tzinfo=datetime.timezone.utc).timestamp()) * 1_000_000


# Around changes of the clocks of the zones above, and far ends.
TIMES = [microseconds(2024, 3, 31, 0, 30), microseconds(2024, 10, 27, 0, 30),
         microseconds(2024, 3, 10, 6, 59), microseconds(2024, 11, 3, 5, 30),
         microseconds(2024, 4, 6, 14, 59), microseconds(2024, 10, 5, 15, 30),
         microseconds(2024, 2, 29, 23, 59), microseconds(2023, 12, 31, 23, 59),
         microseconds(1999, 12, 31, 23, 0), microseconds(1969, 12, 31, 23, 59)]


def make_rows(r, count):
    numbers = {"status": [200, 301, 404, 500], "duration_ms": [0, 1, 2, 1000, -5],
               "bytes": [0, 1, 2**31 - 1, 2**31, 2**53, -2**40]}
    rows = []
    for _ in range(count):
        t = r.choice(TIMES) if r.random() < 0.3 else microseconds(2024, 3, 1) + r.randrange(0, 45 * 86400) * 1_000_000
        row = {"merchant_id": min(int(r.expovariate(0.5)), 9),
               "ts": t + (r.randrange(0, 7200) * 1_000_000 if r.random() < 0.5 else 0) + (r.randrange(1_000_000) if r.random() < 0.3 else 0),
               "visitor_id": "v%d" % r.randrange(60) if r.random() < 0.95 else None,
               "revenue": None if r.random() < 0.6 else r.choice(
                   [0, 1, 9999, 10000, -50000, 123456789, r.randrange(-10**9, 10**9)]),
               "is_bot": None if r.random() < 0.2 else r.random() < 0.3}
        for name, choices in numbers.items():
            row[name] = None if r.random() < 0.15 else r.choice(choices) if r.random() < 0.6 else r.randrange(-1000, 100000)
        for name, choices in TEXTS.items():
            row[name] = None if r.random() < 0.15 else r.choice(choices)
        rows.append(row)
    return rows


def bool_column(name, values):
    valid = bytearray((len(values) + 7) // 8)
    for i, v in enumerate(values):
        if v is not None:
            valid[i // 8] |= 1 << (i % 8)
    return pb.Column(name=name.encode(), bools=bytes(1 if v else 0 for v in values), validity=bytes(valid))


def batch_of(rows):
    columns = []
    for name, kind, _ in COLUMNS:
        values = [row[name] for row in rows]
        if kind == "text":
            columns.append(text_column(name, values))
        elif kind == "bool":
            columns.append(bool_column(name, values))
        else:
            columns.append(int_column(name, values, delta=kind == "time"))
    return pb.Batch(table=b"events", rows=len(rows), columns=columns)


class World:
    """One pair of databases. `shape` says where Tally's rows lie: memtable, segments, or merged."""

    def __init__(self, seed, count):
        r = random.Random(seed)
        self.rows = make_rows(r, count)
        self.zone = r.choice(ZONES)
        self.shape = r.choice(["memtable", "segments", "merged", "mixed"])
        self.server = Tallyd(args=["--log-level", "error"])
        self.channel = self.server.channel()
        self.query = rpc.QueryStub(self.channel)
        ingest, admin = rpc.IngestStub(self.channel), rpc.AdminStub(self.channel)
        at, sequence = 0, 0
        while at < count:
            n, sequence = r.randrange(1, 400), sequence + 1
            acks = append(ingest, [pb.AppendRequest(producer=b"d", sequence=sequence, batch=batch_of(
                self.rows[at:at + n]), **{"import": True})])
            assert acks[0].code == pb.OK and not acks[0].refused, acks
            at += n
            if self.shape in ("segments", "mixed") and r.random() < 0.3:
                admin.Flush(pb.FlushRequest())
        if self.shape == "merged":
            list(admin.Compact(pb.CompactRequest()))
        self.duck = duckdb.connect()
        self.duck.execute("SET threads = 1")
        self.duck.execute("SET order_by_non_integer_literal = true")
        self.duck.execute("SET TimeZone = '%s'" % self.zone)
        self.duck.execute("CREATE TABLE events(%s)" % ", ".join(
            "%s %s" % (name, kind) for name, _, kind in COLUMNS))
        self.duck.executemany(
            "INSERT INTO events VALUES (?, make_timestamptz(?::BIGINT), ?, ?, ?, ?, ?, ?, ?, ?::DECIMAL(18,4), ?)",
            [[self.duck_value(row, name, kind) for name, kind, _ in COLUMNS] for row in self.rows])

    @staticmethod
    def duck_value(row, name, kind):
        v = row[name]
        if kind == "decimal" and v is not None:
            sign, v = ("-", -v) if v < 0 else ("", v)
            return "%s%d.%04d" % (sign, v // 10000, v % 10000)
        return v

    def ask_tally(self, sql):
        """Rows as lists, or the failure's SQLSTATE as text."""
        rows, columns = [], None
        try:
            for m in self.query.Execute(pb.ExecuteRequest(sql=sql.encode(), time_zone=self.zone.encode()),
                                        timeout=60):
                if columns is None:
                    columns = [(c.kind, c.scale) for c in m.columns]
                if m.HasField("batch"):
                    values = [column_values(c, m.batch.rows) for c in m.batch.columns]
                    rows += list(zip(*values)) if values else [()] * m.batch.rows
        except grpc.RpcError as e:
            state = dict(e.trailing_metadata()).get("tally-sqlstate", "")
            return "%s %s" % (state, e.details())
        return [[self.plain(v, *c) for v, c in zip(row, columns)] for row in rows]

    @staticmethod
    def plain(v, kind, scale):
        if v is None or kind not in (4, 5):
            return v
        from decimal import Decimal
        return Decimal(v).scaleb(-scale) if isinstance(v, int) else Decimal(v)

    def ask_duck(self, sql):
        try:
            return [list(row) for row in self.duck.execute(sql).fetchall()]
        except duckdb.Error as e:
            return str(e)

    def close(self):
        self.channel.close()
        self.server.stop()
        self.server.close()
        self.duck.close()
