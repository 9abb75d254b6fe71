"""Random queries over texts, dates, times, decimals and the like."""

from queries import Queries

# The columns of `e`, with the values that may stand in them.
TYPED = {
    "s": ("TEXT", ["", "a", "Ab", "b c", "über", "a,b", "x_y", "10", "2.5"]),
    "d": ("DATE", ["1969-12-31", "2020-01-31", "2020-02-29", "2021-03-28", "2024-12-30"]),
    "t": ("TIMESTAMP", ["1969-12-31 23:59:59.5", "2020-01-31 12:30:00", "2020-02-29 00:00:00", "2021-03-28 02:30:15.123456", "2024-12-30 23:59:59"]),
    "n": ("NUMERIC(10,2)", ["0", "0.05", "-0.5", "1.50", "2.50", "-12.35", "1000.01"]),
    "f": ("DOUBLE PRECISION", ["0", "0.5", "1.5", "-2.5", "3.25", "1e6"]),
    "y": ("BOOLEAN", ["true", "false"]),
}  # fmt: skip


class TypedQueries(Queries):
    """Queries over `e`, which has an `id`, a small number `k`, and a column of each type."""

    def plain(self, kind, of="e"):
        return f"{of}.{kind if kind != 'i' else self.some('id', 'k')}"

    def typed_value(self, kind, depth=2, of="e"):
        """An expression of a type, named by its column: `i` for integers. What docs/sql.md says to differ is left out, such as floating-point -0."""
        if depth == 0 or self.often(0.25):
            return self.plain(kind, of) if self.often(0.85) else self.literal(kind)

        def v(other):
            return self.typed_value(other, depth - 1, of)

        if self.often(0.2):
            return self.some(
                lambda: f"coalesce({v(kind)}, {self.literal(kind)})", lambda: f"CASE WHEN {v('y')} THEN {v(kind)} ELSE {v(kind)} END",
                lambda: f"nullif({v(kind)}, {v(kind)})", lambda: f"CASE WHEN {v('y')} THEN {v(kind)} END",
                lambda: f"{self.some('greatest', 'least')}({v(kind)}, {v(kind)})",
                lambda: f"CASE {v(kind)} WHEN {self.literal(kind)} THEN {v(kind)} ELSE {v(kind)} END",
            )()  # fmt: skip
        small = self.random.randint(-2, 3)
        span = self.some("1 day", "2 hours", "1 month", "-3 days", "1 year 2 months", "90 minutes", "0.5 seconds")
        field = self.some("year", "month", "day", "quarter", "week", "dow", "isodow", "doy", "isoyear")
        clock = self.some("hour", "minute", "microsecond")
        unit = self.some("year", "quarter", "month", "week", "day", "hour", "minute", "second")
        other = self.random.choice(list(TYPED))
        return self.some(*{
            "s": [
                lambda: f"{self.some('upper', 'lower', 'trim', 'ltrim', 'rtrim', 'reverse', 'initcap', 'md5', 'btrim')}({v('s')})",
                lambda: f"({v('s')} || {v(self.some('s', 's', 'i', 'd'))})", lambda: f"{self.some('left', 'right', 'repeat')}({v('s')}, {small})",
                lambda: f"substr({v('s')}, {small})", lambda: f"substring({v('s')} FROM {small} FOR {abs(small)})",
                lambda: f"replace({v('s')}, '{self.some('a', 'b', ',')}', {self.literal('s')})", lambda: f"split_part({v('s')}, ',', {self.some(1, 2, -1)})",
                lambda: f"concat({v(self.some('s', 'i', 'd'))}, {v('s')})", lambda: f"concat_ws('-', {v('s')}, {v('i')}, {v('s')})", lambda: f"translate({v('s')}, 'ab', 'x')",
                lambda: f"{self.some('lpad', 'rpad')}({v('s')}, {small + 2}{self.some('', ', $$xy$$')})", lambda: f"{v(self.some('i', 'd', 'y', 't'))}::text", lambda: f"{v('f')}::text", lambda: f"({v('t')} || {v('s')})", lambda: f"{self.plain('n', of)}::text",
                lambda: f"regexp_replace({v('s')}, '[a-c]', '<x>'{self.some('', ', $$g$$')})", lambda: f"overlay({v('s')} PLACING 'zz' FROM 2 FOR 1)",
                lambda: f"to_char({v('t')}, '{self.some('YYYY-MM-DD', 'HH24:MI:SS', 'Mon DD', 'YYYY-MM', 'MS')}')", lambda: f"left({v('d')}::text, 7)",
                lambda: f"CASE WHEN {v('s')} LIKE 'a%' THEN {v('s')} ELSE 'no' END",
            ],
            "d": [
                lambda: f"({v('d')} + {small})", lambda: f"({v('d')} - {small})", lambda: f"{v('t')}::date", lambda: f"CAST({v('t')} AS date)",
                lambda: f"date_trunc('{unit}', {v('t')})::date", lambda: f"({v('t')} + INTERVAL '{span}')::date", lambda: f"make_date(2020, {abs(small) + 1}, 28)",
            ],
            "t": [
                lambda: f"date_trunc('{unit}', {v('t')})", lambda: f"({v('t')} {self.some('+', '-')} INTERVAL '{span}')", lambda: f"{v('d')}::timestamp",
                lambda: f"({v('d')}::timestamp {self.some('+', '-')} INTERVAL '{span}')", lambda: f"({v('t')} + {v('i')} * INTERVAL '1 hour')",
                lambda: f"date_trunc('{unit}', {v('d')}::timestamp)", lambda: f"date_bin('15 minutes', {v('t')}, TIMESTAMP '2020-01-01')",
            ],
            "n": [
                lambda: f"({v('n')} {self.some('+', '-', '*')} {v(self.some('n', 'n', 'i'))})", lambda: f"round({v('n')}, {self.some(0, 1)})", lambda: f"(- {v('n')})",
                lambda: f"{self.some('abs', 'ceil', 'floor', 'round')}({v('n')})", lambda: f"{v('i')}::numeric(10,2)", lambda: f"({v('n')} % 2)",
                lambda: f"{v('n')}::numeric(12,1)",
            ],
            "f": [
                lambda: f"({v('f')} {self.some('+', '-')} {v(self.some('f', 'f', 'i'))})", lambda: f"{self.some('abs', 'floor', 'sign')}({v('f')})",
                lambda: f"{v(self.some('n', 'i'))}::double precision", lambda: f"sqrt(abs({v('f')}))", lambda: f"power({v('i')}, 2)",
                lambda: f"({v('f')} / (1 + abs({v('f')})))",
            ],
            "y": [
                lambda: f"({v(other)} {self.some('=', '<', '>', '<>', '<=', '>=')} {v(other)})", lambda: f"({v(other)} IS {self.some('', 'NOT ')}NULL)",
                lambda: f"({v('s')} {self.some('LIKE', 'NOT LIKE', 'ILIKE')} '{self.some('a%', '%b%', '_', '%', '')}')", lambda: f"({v('y')} {self.some('AND', 'OR')} {v('y')})",
                lambda: f"(NOT {v('y')})", lambda: f"({v('y')} IS {self.some('', 'NOT ')}{self.some('TRUE', 'FALSE', 'UNKNOWN')})",
                lambda: f"({v('s')} {self.some('~', '!~', '~*')} '{self.some('^a', 'b$', '[0-9]+', '^.$')}')", lambda: f"starts_with({v('s')}, 'a')",
                lambda: f"({v(other)} {self.some('', 'NOT ')}IN ({v(other)}, {self.literal(other)}))", lambda: f"({v(other)} IS DISTINCT FROM {v(other)})",
                lambda: f"({v(other)} BETWEEN {v(other)} AND {v(other)})", lambda: f"({v('d')} < {v('t')})", lambda: f"({v('n')} > {v('f')})", lambda: f"({v('i')} = {v('n')})",
            ],
            "i": [
                lambda: f"({v('i')} {self.some('+', '-', '*')} {v('i')})", lambda: f"{self.some('length', 'char_length', 'octet_length', 'ascii')}({v('s')})",
                lambda: f"strpos({v('s')}, 'b')", lambda: f"extract({field} FROM {v(self.some('d', 't'))})::bigint",
                lambda: f"extract({clock} FROM {v('t')})::bigint", lambda: f"({v('d')} - {v('d')})", lambda: f"floor({v(self.some('n', 'f'))})::bigint", lambda: f"{v('y')}::int",
                lambda: f"({v('i')} / {self.some(2, -3)})", lambda: f"({v('i')} % {self.some(2, -3)})", lambda: f"position('b' IN {v('s')})",
                lambda: f"date_part('{field}', {v('t')})::bigint", lambda: f"CASE WHEN {v('y')} THEN 1 ELSE 0 END", lambda: f"({v('i')} & 3)",
            ],
        }[kind])()  # fmt: skip

    def literal(self, kind):
        if kind == "i":
            return f"({self.random.randint(-2, 4)})"
        type_name, values = TYPED[kind]
        value = self.random.choice(values)
        return f"({value})" if kind == "f" else value if kind == "y" else f"'{value}'" if kind == "s" else f"{type_name.split('(')[0]} '{value}'"

    def typed_aggregate(self, of="e"):
        def v(kind):
            return self.typed_value(kind, 1, of)

        kind = self.random.choice([*TYPED, "i"])
        only = f" FILTER (WHERE {v('y')})" if self.often(0.25) else ""
        return self.some(
            lambda: "count(*)" + only, lambda: f"count({self.some('', 'DISTINCT ')}{v(kind)}){only}",
            lambda: f"{self.some('min', 'max')}({v(self.some('s', 'd', 't', 'n', 'f', 'i'))}){only}", lambda: f"sum({v('n')}){only}", lambda: f"{self.some('sum', 'avg')}({v('f')}){only}", lambda: f"sum({v('i')}){only}",
            lambda: f"{self.some('bool_and', 'bool_or', 'every')}({v('y')}){only}", lambda: f"round(avg({v('n')}), 2)",
            lambda: f"string_agg({v('s')}, '{self.some(',', '')}' ORDER BY {of}.id{self.some('', ' DESC')}){only}",
            lambda: f"array_agg({v(self.some('s', 'd', 'n', 'i'))} ORDER BY {of}.id){only}",
        )()  # fmt: skip

    def typed(self):
        def v(kind, depth=2):
            return self.typed_value(kind, depth)

        kinds = [*TYPED, "i"]
        kind = self.some("show", "show", "show", "group", "group", "rollup", "distinct on", "top", "lateral", "window", "range", "join", "union", "in")
        shown = [v(self.random.choice(kinds), 3) for _ in range(self.random.randint(1, 3))]
        where = f" WHERE {v('y')}" if self.often(0.5) else ""
        if kind == "show":
            return f"SELECT {self.some('', '', 'DISTINCT ')}{', '.join(shown)} FROM e{where}"
        if kind in ("group", "rollup"):
            keys = [v(self.random.choice(kinds)) for _ in range(self.random.randint(1, 2))]
            source = ", ".join(f"{key} AS g{n}" for n, key in enumerate(keys))
            names = [f"q.g{n}" for n in range(len(keys))]
            by = ", ".join(names) if kind == "group" else f"{self.some('ROLLUP', 'CUBE')} ({', '.join(names)})"
            aggregates = [self.typed_aggregate("q") for _ in range(self.random.randint(1, 3))]
            having = f" HAVING count(*) > {self.random.randint(1, 3)}" if self.often(0.2) else ""
            return f"SELECT {', '.join(names + aggregates)} FROM (SELECT e.*, {source} FROM e{where}) q GROUP BY {by}{having}"
        if kind == "distinct on":
            on = v(self.random.choice(kinds))
            return f"SELECT DISTINCT ON (g) g, x, id FROM (SELECT {on} AS g, {shown[0]} AS x, id FROM e{where}) q ORDER BY g{self.some('', ' DESC')}, x{self.some('', ' DESC', ' NULLS FIRST')}, id"
        if kind == "top":
            return f"SELECT {', '.join(shown)}, e.id FROM e{where} ORDER BY {v(self.random.choice(kinds))}{self.some('', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST')}, e.id LIMIT {self.random.randint(1, 8)} OFFSET {self.random.randint(0, 3)}"
        if kind == "lateral":
            inner, rest = ", ".join(self.typed_aggregate("i") for _ in range(2)), ""
            if self.often(0.5):
                inner = f"{self.typed_value(self.random.choice(kinds), 2, 'i')}, i.id"
                rest = f" ORDER BY i.{self.random.choice(list(TYPED))}, i.id LIMIT 2"
            one = self.random.choice(list(TYPED))
            join, on = self.some(("CROSS JOIN", ""), ("LEFT JOIN", " ON TRUE"))
            return f"SELECT e.id, q.* FROM e {join} LATERAL (SELECT {inner} FROM e i WHERE i.{one} = e.{one}{rest}) q (x, y){on}"
        if kind == "window":
            one = v(self.random.choice(kinds))
            name = self.some(f"lag({one})", f"lead({one})", f"first_value({one})", f"last_value({one})", f"min({v(self.some('s', 'd', 'n'))})", f"sum({v(self.some('n', 'f', 'i'))})",
                             f"count({one})", "rank()", "row_number()", f"nth_value({one}, 2)")  # fmt: skip
            part = f"PARTITION BY {v(self.random.choice(kinds), 1)} " if self.often(0.7) else ""
            return f"SELECT e.id, {name} OVER ({part}ORDER BY {v(self.random.choice(kinds), 1)}{self.some('', ' DESC', ' NULLS FIRST')}, e.id) FROM e{where}"
        if kind == "range":
            by, before = self.some(("t", "INTERVAL '1 day'"), ("d", "INTERVAL '1 month'"), ("t", "INTERVAL '1 year'"), ("n", "1.5"), ("f", "2.5"), ("k", "1"))
            after = self.some("CURRENT ROW", f"{before} FOLLOWING", "UNBOUNDED FOLLOWING")
            one = self.some(f"count({v(self.random.choice(kinds), 1)})", f"sum({v(self.some('n', 'i'), 1)})", f"min({v(self.some('s', 'd', 't', 'n'), 1)})", "count(*)")
            return f"SELECT e.id, {one} OVER ({self.some('', 'PARTITION BY e.y ')}ORDER BY e.{by}{self.some('', ' DESC')} RANGE BETWEEN {before} PRECEDING AND {after}) FROM e{where}"
        if kind == "join":
            one, depth = self.random.choice(kinds), 1
            on = f"{self.typed_value(one, depth, 'e')} = {self.typed_value(one, depth, 'o')}"
            return f"SELECT e.id, o.id, {', '.join(shown)} FROM e {self.some('JOIN', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN')} e o ON {on}{where}"
        if kind == "union":
            of = [self.random.choice(kinds) for _ in range(2)]
            arms = [f"SELECT {v(of[0])} AS x, {v(of[1])} AS y FROM e" for _ in range(2)]
            return f"{arms[0]} {self.some('UNION', 'UNION ALL', 'INTERSECT', 'EXCEPT', 'EXCEPT ALL')} {arms[1]}"
        one = self.random.choice(kinds)
        return f"SELECT e.id, {shown[0]} FROM e WHERE {v(one, 1)} {self.some('IN', 'NOT IN')} (SELECT {self.typed_value(one, 1, 'o')} FROM e o WHERE {self.typed_value('y', 1, 'o')})"
