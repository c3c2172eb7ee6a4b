"""Promise: Tally answers as DuckDB does, whatever the question and wherever the rows lie.

Random worlds (rows, zone, where the rows lie) and random questions from a seed. Numbers are equal to
9 digits where one of the two computes them as DOUBLE. A difference ends the run with both texts,
both answers and the seed that repeats it.

usage: run.py [--queries N] [--seed S] [--minutes M] [--rows N]

Needs DuckDB for Python, Debian's python3-grpcio, and TALLY_BUILD. Exit code 77: no DuckDB here.
"""
import argparse
import decimal
import math
import os
import random
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def with_duckdb():
    """Begins again under a Python that has DuckDB beside Debian's packages."""
    folder = os.path.join(ROOT, "build", "duckdb-venv")
    python = os.path.join(folder, "bin", "python")
    if sys.prefix == folder:
        print("differential: DuckDB cannot be installed here")
        sys.exit(77)
    try:
        if not os.path.exists(python):
            subprocess.run(["/usr/bin/python3", "-m", "venv", "--system-site-packages", folder],
                           check=True, capture_output=True)
        if subprocess.run([python, "-c", "import duckdb"], capture_output=True).returncode:
            subprocess.run([python, "-m", "pip", "install", "-q", "duckdb"], check=True,
                           capture_output=True, timeout=300)
    except (subprocess.SubprocessError, OSError):
        print("differential: DuckDB cannot be installed here")
        sys.exit(77)
    os.execv(python, [python] + sys.argv)


try:
    import duckdb  # noqa: F401
    import grpc  # noqa: F401
except ImportError:
    with_duckdb()

import grammar  # noqa: E402
import world  # noqa: E402

QUERIES_PER_WORLD = 1000
# Failures of one side alone that say nothing: each with its reason.
EXPECTED = [
    ("22003", "", "DuckDB's sums of BIGINT are wider, or it answers in DOUBLE"),
    ("", "Overflow", "Tally's expressions of DECIMAL have 38 digits"),
    ("", "out of range", "the same"),
    ("", "Could not convert", "the same"),
]


def number(v):
    return isinstance(v, (int, float, decimal.Decimal)) and not isinstance(v, bool)


def same(a, b):
    if number(a) and number(b):
        if isinstance(a, int) and isinstance(b, int):
            return a == b
        x, y = float(a), float(b)
        return math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-9) or (x != x and y != y)
    return a == b


def sort_key(row):
    """Whole numbers exactly; others to the digits that both sides have."""
    return [(v is None, "" if number(v) else str(v),
             0 if not number(v) else v if whole(v) else float("%.12e" % v)) for v in row]


def whole(v):
    return isinstance(v, int) or (isinstance(v, decimal.Decimal) and v == v.to_integral_value())


def same_answer(a, b):
    if len(a) != len(b):
        return False
    if all(len(x) == len(y) and all(map(same, x, y)) for x, y in zip(a, b)):
        return True
    return all(len(x) == len(y) and all(map(same, x, y))
               for x, y in zip(sorted(a, key=sort_key), sorted(b, key=sort_key)))


def excused(a, b):
    for state, text, _ in EXPECTED:
        if isinstance(a, str) and state and a.startswith(state):
            return True
        if isinstance(b, str) and text and text in b:
            return True
    return False


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--queries", type=int, default=20000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--minutes", type=float, default=0)
    p.add_argument("--rows", type=int, default=400)
    o = p.parse_args()
    end = time.time() + 60 * o.minutes if o.minutes else None
    asked = failed_alike = excuses = rows = 0
    seed = o.seed
    while (time.time() < end) if end else asked < o.queries:
        w = world.World(seed, o.rows)
        try:
            r = random.Random(seed * 7919)
            for _ in range(min(QUERIES_PER_WORLD, o.queries - asked) if not end else QUERIES_PER_WORLD):
                tally, duck = grammar.Relations(r, w.zone).statement()
                a, b = w.ask_tally(tally), w.ask_duck(duck)
                asked += 1
                if isinstance(a, str) and isinstance(b, str):
                    failed_alike += 1
                elif isinstance(a, str) or isinstance(b, str):
                    if not excused(a, b):
                        report(seed, w, tally, duck, a, b)
                    excuses += 1
                elif not same_answer(a, b):
                    report(seed, w, tally, duck, a, b)
                else:
                    rows += len(a)
        finally:
            w.close()
        seed += 1
    print("differential: %d queries, %d rows compared, %d failed on both sides, %d excused; seeds %d to %d" % (
        asked, rows, failed_alike, excuses, o.seed, seed - 1))
    assert failed_alike + excuses < asked / 10, "too many fail: little was compared"


def report(seed, w, tally, duck, a, b):
    print("differential: --seed %d (zone %s, %s) differs" % (seed, w.zone, w.shape))
    print("  tally:  %s\n  duckdb: %s" % (tally, duck))
    if isinstance(a, str) or isinstance(b, str):
        print("  tally answers  %s\n  duckdb answers %s" % (str(a)[:600], str(b)[:600]))
    else:
        x, y = sorted(a, key=sort_key), sorted(b, key=sort_key)
        print("  %d rows and %d rows" % (len(x), len(y)))
        for i, j in [p for p in zip(x, y) if not all(map(same, *p))][:3]:
            print("  tally  %s\n  duckdb %s" % (i, j))
    sys.exit(1)


if __name__ == "__main__":
    main()
