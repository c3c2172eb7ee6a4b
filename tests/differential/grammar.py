"""Random questions, each in Tally's SQL and in DuckDB's.

An expression is made with its type and comes as a pair of texts; they differ only where the two
spell one meaning differently (division of integers, truncation to a zone's day, …). What the two
mean differently on purpose is not made here: docs/SQL.md names what differs from PostgreSQL.
"""

COLUMN_OF = {
    "int": ["merchant_id", "status", "duration_ms", "bytes"],
    "decimal": ["revenue"],
    "text": ["event_name", "visitor_id", "path", "country"],
    "time": ["ts"],
    "bool": ["is_bot"],
}
INTS = ["0", "1", "2", "-3", "200", "404", "1000", "2147483648"]
DECIMALS = ["0.5", "1.0000", "-5.25", "12345.6789"]
TEXTS = ["''", "'/'", "'/cart'", "'pageview'", "'DE'", "'v7'", "'A%B'", "'caf\u00e9'"]
PATTERNS = ["'%'", "'/%'", "'%a%'", "'_'", "'%/%/%'", "'%b'", "'/x%x'", "'a_b'", "'%\u00e9'", "''"]
TIMES = ["2024-03-31 01:30:00+00", "2024-03-10 00:00:00+00", "2024-04-06 15:00:00+00",
         "2024-10-27 00:59:59+00", "2000-01-01 00:00:00+00", "2024-03-15 12:00:00+00"]
UNITS = ["minute", "hour", "day", "week", "month", "quarter", "year"]
FIELDS = ["hour", "minute", "dow", "doy", "day", "month", "year", "week", "quarter", "isodow"]
COMPARE = ["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]


def both(text):
    return text, text


class Maker:
    def __init__(self, r, zone, columns=None):
        self.r = r
        self.zone = zone
        # In an hour that comes twice DuckDB cuts a time to the hour of the other one; PostgreSQL
        # and Tally do not.
        self.units = UNITS if zone in ("UTC", "Asia/Kolkata") else UNITS[2:]
        self.columns = columns or COLUMN_OF

    def pick(self, choices):
        return self.r.choice(choices)

    def chance(self, p):
        return self.r.random() < p

    # ---- expressions ----

    def expression(self, kind, depth):
        return getattr(self, kind + "_of")(depth)

    def leaf(self, kind, constants):
        if self.columns.get(kind) and self.chance(0.75):
            return both(self.pick(self.columns[kind]))
        return both(self.pick(constants))

    def join(self, template, *parts):
        return template % tuple(p[0] for p in parts), template % tuple(p[1] for p in parts)

    def common(self, kind, depth):
        """What every type has."""
        which = self.r.randrange(4)
        if which == 0:
            return self.join("CASE WHEN %s THEN %s ELSE %s END", self.bool_of(depth - 1),
                             self.expression(kind, depth - 1), self.expression(kind, depth - 1))
        if which == 1:
            return self.join("coalesce(%s, %s)", self.expression(kind, depth - 1),
                             self.expression(kind, depth - 1))
        if which == 2:
            return self.join("nullif(%s, %s)", self.expression(kind, depth - 1),
                             self.expression(kind, depth - 1))
        return self.join(self.pick(["greatest(%s, %s)", "least(%s, %s)"]),
                         self.expression(kind, depth - 1), self.expression(kind, depth - 1))

    def int_of(self, depth):
        if depth <= 0 or self.chance(0.4):
            return self.leaf("int", INTS)
        which = self.r.randrange(9)
        if which < 2:
            return self.common("int", depth)
        if which < 4:
            return self.join("(%s " + self.pick(["+", "-"]) + " %s)", self.int_of(depth - 1),
                             self.int_of(depth - 1))
        if which == 4:
            return self.join("(%s * %s)", self.int_of(depth - 1), both(self.pick(["2", "-1", "10", "0"])))
        if which == 5:
            a, b = self.int_of(depth - 1), self.int_of(depth - 1)
            return "(%s / nullif(%s, 0))" % (a[0], b[0]), "(%s // nullif(%s, 0))" % (a[1], b[1])
        if which == 6:
            return self.join("(%s %% nullif(%s, 0))", self.int_of(depth - 1), self.int_of(depth - 1))
        if which == 7:
            return self.join("length(%s)", self.text_of(depth - 1))
        return self.join("extract(" + self.pick(FIELDS) + " FROM %s)::bigint", self.time_of(depth - 1))

    def decimal_of(self, depth):
        if depth <= 0 or self.chance(0.5):
            return self.leaf("decimal", DECIMALS)
        which = self.r.randrange(6)
        if which < 2:
            return self.join("CASE WHEN %s THEN %s ELSE %s END", self.bool_of(depth - 1),
                             self.leaf("decimal", ["0.0000"]), self.leaf("decimal", ["-1.0000"]))
        if which == 2:
            return self.join("(%s " + self.pick(["+", "-"]) + " %s)", self.leaf("decimal", DECIMALS),
                             self.leaf("decimal", DECIMALS))
        if which == 3:
            return self.join("(%s * " + self.pick(["2", "10", "-1"]) + ")", self.leaf("decimal", DECIMALS))
        if which == 4:
            return self.join("abs(%s)", self.leaf("decimal", DECIMALS))
        return self.join("coalesce(%s, 0.0000)", self.leaf("decimal", DECIMALS))

    def text_of(self, depth):
        if depth <= 0 or self.chance(0.45):
            return self.leaf("text", TEXTS)
        which = self.r.randrange(11)
        one = self.text_of(depth - 1)
        if which < 2:
            return self.common("text", depth)
        if which == 2:
            return self.join("(%s || %s)", one, self.text_of(depth - 1))
        if which == 3:
            return self.join(self.pick(["lower(%s)", "upper(%s)", "reverse(%s)", "trim(%s)"]), one)
        if which == 4:
            return self.join("substr(%s, " + self.pick(["1, 3", "2, 100", "3, 0"]) + ")", one)
        if which == 5:
            return self.join(self.pick(["left(%s, 2)", "right(%s, 2)", "left(%s, -1)"]), one)
        if which == 6:
            return self.join("replace(%s, " + self.pick(["'/', '-'", "'a', ''", "'zz', 'y'"]) + ")", one)
        if which == 7:
            return self.join("split_part(%s, '/', " + self.pick(["1", "2", "3"]) + ")", one)
        if which == 8:
            return self.join("concat(%s, '-', %s)", one, self.text_of(depth - 1))
        if which == 9:
            return self.join(self.pick(["lpad(%s, 5, '*')", "rpad(%s, 5, 'xy')"]), one)
        return self.join("%s::text", self.int_of(depth - 1))

    def time_of(self, depth):
        if depth <= 0 or self.chance(0.5):
            if self.columns.get("time") and self.chance(0.85):
                return both(self.pick(self.columns["time"]))
            return both("TIMESTAMPTZ '%s'" % self.pick(TIMES))
        which = self.r.randrange(5)
        if which == 0:
            return self.common("time", depth)
        if which < 3:
            return self.join("date_trunc('" + self.pick(self.units) + "', %s)", self.time_of(depth - 1))
        if which == 3:
            return self.join("(%s " + self.pick(["+", "-"]) + " INTERVAL '" + self.pick(
                ["1 hour", "90 minutes", "1 day", "1 month", "15 seconds"]) + "')",
                self.time_of(depth - 1))
        width = self.pick(["15 minutes", "1 hour", "6 hours"])
        one = self.time_of(depth - 1)
        return "time_bucket('%s', %s)" % (width, one[0]), \
               "time_bucket(INTERVAL '%s', %s)" % (width, one[1])

    def bool_of(self, depth):
        if depth <= 0:
            return both(self.pick(["true", "false"] + self.columns.get("bool", [])))
        which = self.r.randrange(11)
        if which < 3:
            kind = self.pick(["int", "int", "text", "time", "decimal"])
            return self.join("(%s " + self.pick(COMPARE) + " %s)", self.expression(kind, depth - 1),
                             self.expression(kind, depth - 1))
        if which < 5:
            return self.join("(%s " + self.pick(["AND", "OR"]) + " %s)", self.bool_of(depth - 1),
                             self.bool_of(depth - 1))
        if which == 5:
            return self.join("(NOT %s)", self.bool_of(depth - 1))
        if which == 6:
            kind = self.pick(["int", "text", "time", "decimal", "bool"])
            return self.join("(%s " + self.pick(["IS NULL", "IS NOT NULL"]) + ")",
                             self.expression(kind, depth - 1))
        if which == 7:
            return self.join("(%s " + self.pick(["LIKE ", "NOT LIKE ", "ILIKE "]) + self.pick(PATTERNS)
                             .replace("%", "%%") + ")", self.text_of(depth - 1))
        if which == 8:
            kind, constants = self.pick([("int", INTS), ("text", TEXTS)])
            inner = ", ".join(self.r.sample(constants, 3) + (["NULL"] if self.chance(0.2) else []))
            return self.join("(%s " + self.pick(["IN", "NOT IN"]) + " (" + inner.replace("%", "%%") + "))",
                             self.expression(kind, depth - 1))
        if which == 9:
            return self.join("(%s BETWEEN %s AND %s)", self.int_of(depth - 1), self.int_of(0),
                             self.int_of(0))
        return self.join("(%s " + self.pick(["IS TRUE", "IS NOT TRUE", "IS FALSE", "IS UNKNOWN"]) + ")",
                         self.bool_of(depth - 1)) if self.chance(0.5) else both("starts_with(path, '/')")

    # ---- aggregates: (pair, type of the answer) ----

    def aggregate(self):
        which = self.r.randrange(9)
        if which < 2:
            a, kind = both("count(*)"), "int"
        elif which == 2:
            a, kind = self.join("count(%s)", self.expression(self.pick(list(COLUMN_OF)), 2)), "int"
        elif which == 3:
            a, kind = self.join("count(DISTINCT %s)", self.expression(
                self.pick(["int", "text", "time"]), 2)), "int"
        elif which == 4:
            kind = self.pick(["int", "decimal"])
            a = self.join("sum(%s)", self.expression(kind, 2))
        elif which == 5:
            kind = self.pick(["int", "decimal"])
            a = self.join("avg(%s)", self.expression(kind, 2))
        elif which == 6:
            kind = self.pick(["int", "decimal", "text", "time"])
            a = self.join(self.pick(["min(%s)", "max(%s)"]), self.expression(kind, 2))
        elif which == 7:
            a, kind = self.join("sum(DISTINCT %s)", self.int_of(1)), "int"
        else:
            kind = self.pick(["int", "text"])
            a = self.join("percentile_disc(" + self.pick(["0", "0.25", "0.5", "0.9", "1"]) +
                          ") WITHIN GROUP (ORDER BY %s)", self.expression(kind, 1))
            return a, kind
        if self.chance(0.25):
            a = self.join("%s FILTER (WHERE %s)", a, self.bool_of(2))
        return a, kind

    # ---- statements ----

    def select(self):
        """(Tally's text, DuckDB's text)."""
        grouped = self.chance(0.6)
        outputs, keys = [], 0
        if grouped:
            keys = self.r.randrange(0, 4)
            for _ in range(keys):
                kind = self.pick(["int", "text", "time", "bool", "text", "time"])
                outputs.append((self.expression(kind, 2), kind))
            for _ in range(self.r.randrange(1, 4)):
                outputs.append(self.aggregate())
        else:
            for _ in range(self.r.randrange(1, 5)):
                kind = self.pick(list(COLUMN_OF))
                outputs.append((self.expression(kind, 3), kind))
        where = self.bool_of(3) if self.chance(0.7) else None
        having = self.aggregate()[0] if grouped and keys and self.chance(0.2) else None
        order = self.chance(0.4)
        distinct = "DISTINCT " if not grouped and self.chance(0.3) else ""
        texts = []
        for side in (0, 1):
            sql = "SELECT " + distinct + ", ".join(
                (o[side] if side == 0 else duck_output(o[1], kind)) for o, kind in outputs) + " FROM events"
            if where:
                sql += " WHERE " + where[side]
            if grouped and keys:
                sql += " GROUP BY " + ", ".join(str(i + 1) for i in range(keys))
            if having:
                sql += " HAVING %s IS NOT NULL" % having[side]
            if order:
                sql += " ORDER BY " + ", ".join("%d NULLS LAST" % (i + 1) for i in range(len(outputs)))
            texts.append(sql)
        if order and self.chance(0.5):
            tail = " LIMIT %d" % self.r.randrange(0, 30)
            if self.chance(0.3):
                tail += " OFFSET %d" % self.r.randrange(0, 10)
            texts = [t + tail for t in texts]
        return tuple(texts)


class Relations(Maker):
    """Statements over more than one table: joins, subqueries, WITH, sets of rows, sets of groups."""

    def relation(self, alias):
        """A small table: (pair of texts, its columns by kind, its key's name and kind)."""
        where = self.bool_of(2) if self.chance(0.5) else both("true")
        which = self.r.randrange(4)
        if which == 0:
            text = "(SELECT merchant_id AS k, count(*) AS n, max(ts) AS t, min(path) AS p FROM events WHERE %s GROUP BY 1)"
            columns, key = {"int": ["k", "n"], "time": ["t"], "text": ["p"]}, ("k", "int")
        elif which == 1:
            text = "(SELECT country AS c, sum(duration_ms)::bigint AS n, max(revenue) AS d FROM events WHERE %s GROUP BY 1)"
            columns, key = {"text": ["c"], "int": ["n"], "decimal": ["d"]}, ("c", "text")
        elif which == 2:
            text = "(SELECT DISTINCT merchant_id AS k, country AS c, is_bot AS b FROM events WHERE %s)"
            columns = {"int": ["k"], "text": ["c"], "bool": ["b"]}
            key = self.pick([("k", "int"), ("c", "text")])
        else:
            text = "(SELECT merchant_id AS k, status AS s, country AS c FROM events WHERE status = 404 AND %s)"
            columns, key = {"int": ["k", "s"], "text": ["c"]}, self.pick([("k", "int"), ("c", "text")])
        qualified = {kind: [alias + "." + name for name in names] for kind, names in columns.items()}
        return self.join(text, where), qualified, key

    def joined(self):
        a, left, key = self.relation("a")
        for _ in range(50):
            b, right, other = self.relation("b")
            if other[1] == key[1]:
                break
        else:
            return self.select()
        columns = {kind: left.get(kind, []) + right.get(kind, []) for kind in COLUMN_OF}
        inner = type(self)(self.r, self.zone, columns)
        on = "a.%s = b.%s" % (key[0], other[0])
        kind = self.pick(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN", "JOIN", "LEFT JOIN"])
        extra = inner.bool_of(2) if self.chance(0.3) and kind not in ("CROSS JOIN", "FULL JOIN") else None
        outputs = inner.outputs()
        where = inner.bool_of(2) if self.chance(0.4) else None
        texts = []
        for side in (0, 1):
            sql = "SELECT %s FROM %s a %s %s b" % (output_list(outputs, side), a[side], kind, b[side])
            if kind != "CROSS JOIN":
                sql += " ON " + on + (" AND " + extra[side] if extra else "")
            if where:
                sql += " WHERE " + where[side]
            texts.append(sql)
        return tuple(texts)

    def outputs(self):
        kinds = [k for k in COLUMN_OF if self.columns.get(k)]
        return [(self.expression(k, 2), k) for k in
                (self.pick(kinds) for _ in range(self.r.randrange(1, 4)))]

    def with_subquery(self):
        """Conditions that ask another table, correlated or not."""
        outputs = self.outputs()
        a, _, key = self.relation("a")
        column = {"int": "merchant_id", "text": "country"}[key[1]]
        which = self.r.randrange(5)
        inner = "(SELECT %s FROM %%s x%s)" % (key[0], "" if which else " WHERE %s IS NOT NULL" % key[0])
        if which < 2:
            condition = "%s %s %s" % (column, self.pick(["IN", "NOT IN"]), inner)
        elif which == 2:
            condition = "%s (SELECT 1 FROM %%s x WHERE x.%s = events.%s)" % (
                self.pick(["EXISTS", "NOT EXISTS"]), key[0], column)
        elif which == 3:
            condition = "%s >= (SELECT max(x.%s) FROM %%s x)" % (column, key[0])
        else:
            condition = "(SELECT count(*) FROM %%s x WHERE x.%s = events.%s) > 1" % (key[0], column)
        condition = self.join(condition, a)
        where = self.bool_of(1)
        return tuple("SELECT %s FROM events WHERE %s AND %s" % (
            output_list(outputs, side), condition[side], where[side]) for side in (0, 1))

    def set_operation(self):
        kinds = [self.pick(["int", "text", "time", "bool"]) for _ in range(self.r.randrange(1, 3))]
        parts = []
        for _ in range(self.r.randrange(2, 4)):
            outputs = [(self.expression(k, 1), k) for k in kinds]
            where = self.bool_of(2)
            parts.append(tuple("SELECT %s FROM events WHERE %s" % (output_list(outputs, side), where[side])
                               for side in (0, 1)))
        operator = self.pick(["UNION", "UNION ALL", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"])
        return tuple((" %s " % operator).join("(%s)" % p[side] for p in parts) for side in (0, 1))

    def with_clause(self):
        a, columns, _ = self.relation("w")
        inner = type(self)(self.r, self.zone, columns)
        outputs = inner.outputs()
        where = inner.bool_of(2)
        return tuple("WITH w AS %s SELECT %s FROM w WHERE %s AND (SELECT count(*) FROM w) > 2" % (
            a[side], output_list(outputs, side), where[side]) for side in (0, 1))

    def grouping_sets(self):
        keys = self.r.sample(["merchant_id", "country", "is_bot", "event_name"], 3)
        sets = self.pick(["ROLLUP (%s, %s, %s)", "CUBE (%s, %s, %s)",
                          "GROUPING SETS ((%s), (%s, %s), ())"]) % tuple(keys)
        a, kind = self.aggregate()
        where = self.bool_of(2)
        return tuple("SELECT %s, %s, grouping(%s) FROM events WHERE %s GROUP BY %s" % (
            ", ".join(keys), output_list([(a, kind)], side), keys[0], where[side], sets)
            for side in (0, 1))

    def statement(self):
        which = self.r.randrange(20)
        if which < 9:
            return self.select()
        if which < 13:
            return self.joined()
        if which < 15:
            return self.with_subquery()
        if which < 17:
            return self.set_operation()
        return self.with_clause() if which < 18 else self.grouping_sets()


def output_list(outputs, side):
    return ", ".join(o[side] if side == 0 else duck_output(o[1], kind) for o, kind in outputs)


def duck_output(text, kind):
    return "epoch_us(%s)" % text if kind == "time" else text
