"""Random queries over small tables of integers with many NULLs. The same seed gives the same query."""

import random

# With so many rows.
TABLES = {"a": 9, "b": 7, "c": 5}
COLUMNS = ["id", "k", "v"]


class Queries:
    """One query of each kind, over `a`, `b` and `c`, whose columns are integers."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.aliases = 0

    def some(self, *choices):
        return self.random.choice(choices)

    def often(self, share):
        return self.random.random() < share

    def alias(self):
        self.aliases += 1
        return f"t{self.aliases}"

    # ---- values and conditions ----

    def value(self, columns):
        one = self.random.choice(columns)
        return self.some(one, one, one, str(self.random.randint(0, 3)), f"({one} + {self.random.choice(columns)})", f"coalesce({one}, 2)")

    def in_list(self, columns):
        of = [str(self.random.randint(0, 3)) if self.often(0.8) else self.random.choice([*columns, "NULL"]) for _ in range(self.random.randint(1, 4))]
        return f"{self.random.choice(columns)} {self.some('IN', 'NOT IN')} ({', '.join(of)})"

    def condition(self, columns, depth):
        one, other = self.random.choice(columns), self.value(columns)
        if depth <= 0 or self.often(0.2):
            return self.some(
                self.in_list(columns),
                self.in_list(columns),
                f"{one} {self.some('=', '<', '>', '<>', '>=', '<=')} {other}",
                f"{one} IS {self.some('', 'NOT ')}NULL",
                f"{one} {self.some('', 'NOT ')}BETWEEN {other} AND {self.value(columns)}",
                f"{one} IS {self.some('', 'NOT ')}DISTINCT FROM {other}",
                self.some("NULL::boolean", "TRUE", "FALSE"),
            )
        return self.combined(lambda: self.condition(columns, depth - 1))

    def combined(self, make):
        truth = self.some("NULL", "NOT NULL", "TRUE", "NOT TRUE", "FALSE", "NOT FALSE")
        pick = self.random.random()
        if pick < 0.6:
            return f"({make()} {self.some('AND', 'OR')} {make()})"
        if pick < 0.75:
            return f"NOT ({make()})"
        if pick < 0.87:
            return f"({make()}) IS {truth}"
        if pick < 0.95:
            return f"CASE WHEN {make()} THEN {make()} ELSE {make()} END"
        return f"({make()}) = ({make()})"

    def joined(self):
        columns, tables = [f"a.{c}" for c in COLUMNS], "a"
        if self.often(0.45):
            on = self.some("a.k = b.k", "a.v = b.k", "a.k = b.k AND a.v <= b.v", f"a.k = b.v AND {self.condition(['b.id', 'b.k', 'b.v'], 1)}")
            tables = f"a {self.some('JOIN', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN')} b ON {on}"
            columns += [f"b.{c}" for c in COLUMNS]
            if self.often(0.3):
                tables += f" {self.some('JOIN', 'LEFT JOIN')} c ON {self.some('b.v = c.k', 'a.k = c.k', 'a.v = c.v AND b.k = c.k')}"
                columns += [f"c.{c}" for c in COLUMNS]
        return tables, columns

    def where(self, columns, share=0.5, depth=1):
        return f" WHERE {self.condition(columns, depth)}" if self.often(share) else ""

    # ---- kinds ----

    def conditions(self):
        tables, columns = self.joined()
        shown = f"{columns[0]}, {columns[-1]}"
        if self.often(0.5):
            return f"SELECT {shown}, {self.condition(columns, 3)} FROM {tables}"
        return f"SELECT {shown} FROM {tables} WHERE {self.condition(columns, 3)}"

    def inner_where(self, own, outer, depth):
        conditions = []
        if self.often(0.7):
            left = self.some(*own, f"{own[1]} + 1")
            conditions.append(f"{left} {self.some('=', '=', '=', '<', '>=', '<>')} {self.random.choice(outer)}")
        if self.often(0.4):
            conditions.append(self.with_subquery(own, depth))
        return " WHERE " + " AND ".join(conditions) if conditions else ""

    def one_value(self, columns, depth):
        table, alias = self.random.choice(list(TABLES)), self.alias()
        own = [f"{alias}.{c}" for c in COLUMNS]
        of = self.some("max({})", "min({})", "count({})", "sum({})", "count(*)").format(self.random.choice(own))
        return f"(SELECT {of} FROM {table} {alias}{self.inner_where(own, columns, depth)})"

    def rows(self, columns, depth):
        table, alias = self.random.choice(list(TABLES)), self.alias()
        own = [f"{alias}.{c}" for c in COLUMNS]
        where, one = self.inner_where(own, columns, depth), self.random.choice(own)
        pick = self.random.random()
        if pick < 0.6:
            return f"(SELECT {one} FROM {table} {alias}{where})"
        if pick < 0.7:
            return f"(SELECT DISTINCT {one} FROM {table} {alias}{where})"
        if pick < 0.82:
            having = self.some("", " HAVING count(*) > 1", f" HAVING max({own[2]}) > 1")
            return f"(SELECT max({one}) FROM {table} {alias}{where} GROUP BY {self.random.choice(own)}{having})"
        if pick < 0.92:
            return f"(SELECT {self.some('max', 'min', 'count', 'sum')}({one}) FROM {table} {alias}{where})"
        other = self.alias()
        where = self.inner_where([*own, *(f"{other}.{c}" for c in COLUMNS)], columns, depth)
        return f"(SELECT {self.random.choice(own)} FROM {table} {alias} JOIN c {other} ON {own[1]} = {other}.k{where})"

    def with_subquery(self, columns, depth):
        if depth <= 0 or self.often(0.15):
            return self.condition(columns, 0)
        pick, value = self.random.random(), self.value(columns)
        if pick < 0.25:
            return f"{value} {self.some('IN', 'NOT IN')} {self.rows(columns, depth - 1)}"
        if pick < 0.42:
            return f"{self.some('EXISTS', 'NOT EXISTS')} {self.rows(columns, depth - 1)}"
        if pick < 0.54:
            return f"{value} {self.some('=', '<', '>', '<>', '>=')} {self.some('ANY', 'ALL')} {self.rows(columns, depth - 1)}"
        if pick < 0.64:
            return f"{value} {self.some('=', '<', '>', '<>')} {self.one_value(columns, depth - 1)}"
        return self.combined(lambda: self.with_subquery(columns, depth - 1))

    def subqueries(self):
        tables, columns = "a", [f"a.{c}" for c in COLUMNS]
        if self.often(0.25):
            tables = f"a {self.some('JOIN', 'LEFT JOIN', 'FULL JOIN')} b ON a.k = b.k"
            columns += [f"b.{c}" for c in COLUMNS]
        if self.often(0.12):
            having = self.some(self.with_subquery(["a.k"], 2), "count(*) > 1")
            return f"SELECT a.k, count(*) FROM {tables} WHERE {self.with_subquery(columns, 2)} GROUP BY a.k HAVING {having}"
        more = f", {self.one_value(columns, 1)}" if self.often(0.25) else ""
        also = f" AND {self.condition(columns, 1)}" if self.often(0.35) else ""
        return f"SELECT {columns[0]}, {columns[-1]}{more} FROM {tables} WHERE {self.with_subquery(columns, 2)}{also}"

    # ---- subqueries of any shape, which name what is outside anywhere ----

    def body(self, outer, depth):
        """A query with the columns x and y; LIMIT and numbers are by all of both, so that there is one answer."""
        pick = self.random.random() if depth > 0 else 0
        if pick < 0.35:
            alias = self.alias()
            own = [f"{alias}.{c}" for c in COLUMNS]
            x = self.some(*own, *own, f"{own[0]} + {self.random.choice(outer)}", self.random.choice(outer))
            distinct = self.some("", "", "", "DISTINCT ")
            return f"SELECT {distinct}{x} AS x, {self.random.choice(own)} AS y FROM {self.random.choice(list(TABLES))} {alias}{self.inner_where(own, outer, 0)}"
        q, r = self.alias(), self.alias()
        inner = f"({self.body(outer, depth - 1)}) {q}"
        if pick < 0.5:
            aggregate = self.some("count(*)", f"max({q}.y)", f"min({q}.y)", f"count({q}.y)", f"sum({q}.y)")
            having = self.some("", "", " HAVING count(*) > 1", f" HAVING count(*) > {self.random.choice(outer)}")
            if self.often(0.5):
                return f"SELECT max({q}.x) AS x, {aggregate} AS y FROM {inner}{having}"
            return f"SELECT {q}.x AS x, {aggregate} AS y FROM {inner} GROUP BY {q}.x{having}"
        if pick < 0.65:
            limit = self.some("LIMIT 1", "LIMIT 2", "LIMIT 1 OFFSET 1", "OFFSET 1", "LIMIT 0")
            return f"SELECT {q}.x, {q}.y FROM {inner} ORDER BY {q}.x{self.some('', ' DESC', ' NULLS FIRST')}, {q}.y {limit}"
        if pick < 0.75:
            operation = self.some("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL")
            return f"(SELECT {q}.x, {q}.y FROM {inner}) {operation} ({self.body(outer, depth - 1)})"
        if pick < 0.9:
            on = self.some(f"{q}.x = {r}.x", f"{q}.x = {r}.y AND {q}.y <= {r}.y", f"{q}.x = {r}.x AND {r}.y < {self.random.choice(outer)}")
            other = self.body(outer, depth - 1)
            return f"SELECT {q}.x, {r}.y FROM {inner} {self.some('JOIN', 'LEFT JOIN', 'RIGHT JOIN')} ({other}) {r} ON {on}"
        if pick < 0.95:
            return f"SELECT DISTINCT ON ({q}.x) {q}.x, {q}.y FROM {inner} ORDER BY {q}.x, {q}.y"
        call = self.some("row_number()", f"sum({q}.y)", "rank()", f"lag({q}.y)")
        return f"SELECT {q}.x, {call} OVER ({self.some('', f'PARTITION BY {q}.x ')}ORDER BY {q}.x, {q}.y) AS y FROM {inner}"

    def of_body(self, columns, depth=2):
        """A value, and a condition."""
        body, q, value = self.body(columns, depth), self.alias(), self.value(columns)
        if self.often(0.4):
            of = self.some(f"max({q}.x)", f"count({q}.y)", "count(*)", f"sum({q}.x) + {self.random.choice(columns)}", f"min({q}.y)")
            having = self.some("", "", f" HAVING {self.some('count(*)', f'max({q}.y)')} {self.some('=', '>')} {self.random.randint(0, 2)}")
            one = self.some(f"SELECT {of} FROM ({body}) {q}{having}", f"SELECT {q}.y FROM ({body}) {q} ORDER BY {q}.y, {q}.x LIMIT 1")
            if self.often(0.15):
                one = f"{value} {self.some('=', '<', '<>')} {self.some('ANY', 'ALL')} ({one})"
                return one, one
            return f"({one})", f"{value} {self.some('=', '<', '>=')} ({one})"
        asked = self.some(
            f"{self.some('', 'NOT ')}EXISTS ({body})",
            f"{value} {self.some('', 'NOT ')}IN (SELECT {q}.x FROM ({body}) {q})",
            f"{value} {self.some('=', '<', '>', '<>')} {self.some('ANY', 'ALL')} (SELECT {q}.y FROM ({body}) {q})",
        )
        return asked, asked

    def correlated(self):
        tables, columns = "a", [f"a.{c}" for c in COLUMNS]
        if self.often(0.15):
            tables = f"(SELECT min(id) AS id, k, count(*) AS v FROM {self.random.choice(list(TABLES))} GROUP BY k) a{self.some('', ' CROSS JOIN c')}"
        elif self.often(0.2):
            tables = f"a {self.some('JOIN', 'LEFT JOIN')} b ON a.k = b.k"
            columns += [f"b.{c}" for c in COLUMNS]
        pick = self.random.random()
        if pick < 0.35:
            return f"SELECT {columns[0]}, {columns[-1]}, {self.of_body(columns)[0]} FROM {tables}{self.where(columns, 0.3)}"
        if pick < 0.6:
            more = f" {self.some('AND', 'AND', 'OR')} {self.condition(columns, 1)}" if self.often(0.4) else ""
            return f"SELECT {columns[0]}, {columns[-1]} FROM {tables} WHERE {self.of_body(columns)[1]}{more}"
        if pick < 0.7:
            value, condition = self.of_body(columns, 1)
            shown = self.some(f"count(*) FILTER (WHERE {condition})", f"count({value})", f"sum(CASE WHEN {condition} THEN 1 ELSE 2 END)")
            return f"SELECT a.k, {shown} FROM {tables} GROUP BY a.k"
        lateral = f"LATERAL ({self.body(columns, 2)}) l"
        if self.often(0.4):
            tables = f"{tables} CROSS JOIN {lateral}"
        else:
            tables = f"{tables} {self.some('JOIN', 'LEFT JOIN')} {lateral} ON {self.some('true', 'l.y > 1', f'l.x = {self.random.choice(columns)}')}"
        if self.often(0.2):
            tables = f"{tables} CROSS JOIN LATERAL ({self.body([*columns, 'l.x'], 1)}) m"
            return f"SELECT {columns[0]}, l.x, m.x, m.y FROM {tables}"
        return f"SELECT {columns[0]}, l.x, l.y FROM {tables}{self.where([*columns, 'l.x'], 0.3)}"

    # ---- aggregates, windows, sets ----

    def aggregate(self, columns):
        one = self.random.choice(columns)
        only = f" FILTER (WHERE {self.condition(columns, 1)})" if self.often(0.25) else ""
        name = self.some("count", "sum", "min", "max", "avg", "count", "sum", "text", "list", "bool_and", "bool_or", "bit_and", "percentile")
        if name == "text":
            return f"string_agg({one}::text, ',' ORDER BY {one}{self.some('', ' DESC')}){only}"
        if name == "list":
            distinct = self.some("", "DISTINCT ")
            return f"array_agg({distinct}{one} ORDER BY {one}{self.some('', ' NULLS FIRST', ' DESC NULLS LAST')}){only}"
        if name in ("bool_and", "bool_or"):
            return f"{name}({self.condition(columns, 1)}){only}"
        if name == "percentile":
            return f"percentile_cont({self.some('0', '0.25', '0.5', '1')}) WITHIN GROUP (ORDER BY {one})"
        return f"{name}({self.some('', '', 'DISTINCT ') if name != 'bit_and' else ''}{self.value(columns)}){only}"

    def aggregates(self):
        tables, columns = self.joined()
        keys = [self.some(*columns, *columns, f"{columns[1]} % 2", f"coalesce({columns[2]}, 0)") for _ in range(self.random.randint(0, 2))]
        keys = list(dict.fromkeys(keys))
        shown, by, having = [self.aggregate(columns) for _ in range(self.random.randint(1, 3))], "", ""
        if keys:
            every = ", ".join(keys)
            sets = self.some(f"ROLLUP ({every})", f"CUBE ({every})", f"GROUPING SETS ((), ({every}))")
            by = f" GROUP BY {every if self.often(0.65) else sets}"
        if self.often(0.3):
            having = f" HAVING {self.condition(['count(*)', f'max({columns[0]})', *keys], 1)}"
        return f"SELECT {', '.join(keys + shown)} FROM {tables}{self.where(columns)}{by}{having}"

    def windows(self):
        tables, columns = self.joined()
        ids = [c for c in columns if c.endswith(".id")]
        shown = []
        for _ in range(self.random.randint(1, 2)):
            one = self.random.choice(columns)
            name = self.some("row_number()", "rank()", "dense_rank()", "ntile(3)", f"lag({one})", f"lead({one}, 2, 7)", "percent_rank()", "cume_dist()")
            frame = ""
            if self.often(0.6):
                name = self.some("first_value", "last_value", "sum", "count", "min", "max", "avg") + f"({one})"
                if self.often(0.6):
                    first = self.some("UNBOUNDED PRECEDING", "2 PRECEDING", "1 PRECEDING", "CURRENT ROW")
                    frame = f" {self.some('ROWS', 'GROUPS')} BETWEEN {first} AND {self.some('CURRENT ROW', '1 FOLLOWING', 'UNBOUNDED FOLLOWING')}"
            part = f"PARTITION BY {self.random.choice(columns)} " if self.often(0.7) else ""
            order = f"ORDER BY {self.random.choice(columns)}{self.some('', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST')}, {', '.join(ids)}"
            shown.append(f"{name} OVER ({part}{order}{frame})")
        return f"SELECT {', '.join(ids + shown)} FROM {tables}{self.where(columns, 0.4)}"

    def sets(self, depth=2):
        if depth == 0 or self.often(0.2):
            tables, columns = self.joined()
            one = self.random.choice(columns)
            if self.often(0.15):
                return f"SELECT {one} AS x, count(*) AS y FROM {tables}{self.where(columns)} GROUP BY {one}"
            return f"SELECT {self.some('', '', 'DISTINCT ')}{one} AS x, {self.value(columns)} AS y FROM {tables}{self.where(columns)}"
        operation = self.some("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL")
        query = f"({self.sets(depth - 1)}) {operation} ({self.sets(depth - 1)})"
        if self.often(0.2):
            return f"SELECT x, count(*) AS y FROM ({query}) q{depth} GROUP BY x"
        return query


    # ---- names ----

    ITEMS = {
        "k": "k", "t.v": "v", "id AS named": "named", "abs(k) AS v": "v", "v::text": "v", "(k + 1)::int": "int4", "'1'::int": "int4",
        "CAST(k AS text)::int": "k", "upper(v::text)": "upper", "coalesce(k, 0)": "coalesce", "nullif(k, 1)": "nullif", "abs(v)": "abs",
        "CASE WHEN k > 1 THEN v END": "case", "CASE WHEN k > 1 THEN 1 ELSE v END": "v", "greatest(k, v)": "greatest",
        "(SELECT max(v) FROM b)": "max", "(SELECT b.k FROM b WHERE b.id = 1)": "k", "(SELECT count(*) FROM b WHERE b.k = t.k) + 1": None,
        "EXISTS (SELECT 1 FROM b WHERE b.k = t.k)": None, "1": None, "k + v": None, "(k)": "k", "v IS NULL": None,
        "row_number() OVER (ORDER BY id)": "row_number", "sum(v) OVER (PARTITION BY k)": "sum", "max(k) OVER ()": "max",
        "extract(year FROM DATE '2020-01-01')": "extract", "DATE '2020-02-03'": "date", "NULL::bigint": "int8",
    }  # fmt: skip
    GROUPED = {
        "k": "k", "count(*)": "count", "sum(v)": "sum", "max(v)": "max", "max(v)::text": "max", "count(*) + 1": None, "abs(k)": "abs",
        "string_agg(v::text, ',' ORDER BY id)": "string_agg", "sum(v) FILTER (WHERE v > 1)": "sum", "coalesce(min(v), 0)": "coalesce",
        "min(v) AS least": "least", "round(avg(v), 2)": "round",
    }  # fmt: skip

    def names(self):
        """Columns without a name, read by the one that they get."""
        grouped = self.often(0.3)
        items = self.random.choices(list((self.GROUPED if grouped else self.ITEMS).items()), k=self.random.randint(1, 4))
        names, shown = [name for _, name in items], ", ".join(item for item, _ in items)
        distinct = "" if grouped else self.some("", "", "DISTINCT ")
        if not grouped and self.often(0.2):
            names, shown = [*names, "id", "k", "v"], f"{shown}, {self.some('*', 't.*')}"
        query = f"SELECT {distinct}{shown} FROM {self.some('a', 'b', 'c')} t{' GROUP BY k' if grouped else ''}"
        for level in range(self.random.randint(0, 3)):
            once = [name for name in names if name and names.count(name) == 1]
            if once and self.often(0.5):
                column = self.random.choice(once)
                query = f"SELECT {column}, count(*) FROM ({query}) q GROUP BY {column}"
                names = [column, "count"] if column != "count" else [None, None]
            elif once and self.often(0.6):
                chosen = self.random.sample(once, self.random.randint(1, len(once)))
                query = f"WITH q AS ({query}) SELECT {', '.join(chosen)} FROM q"
                names = chosen
            else:
                query = f"SELECT {self.some('*', f'q{level}.*')} FROM ({query}) q{level}"
        once = [name for name in names if name and names.count(name) == 1]
        if once and self.often(0.4):
            query += f" ORDER BY {self.random.choice(once)}{self.some('', ' DESC')}"
        return query


    # ---- derived tables over each other ----

    def nested(self):
        """Each reads the one before, and shows, groups, numbers, joins, or cuts off some of it."""
        names = iter(f"c{n}" for n in range(1000))
        columns = [next(names) for _ in COLUMNS]
        query = f"SELECT {', '.join(f'{c} AS {n}' for c, n in zip(COLUMNS, columns, strict=True))} FROM {self.some('a', 'b', 'c')}"
        for level in range(self.random.randint(1, 5)):
            query, columns = self.above(query, columns, f"q{level}", names)
        return query

    def above(self, query, columns, alias, names):
        def computed():
            one, other = self.random.choice(columns), self.random.choice(columns)
            return self.some(one, f"{one} + 1", f"coalesce({one}, 0)", f"abs({one} - {other})", f"{one} % 2", "1", f"greatest({one}, {other})")

        def some_columns(least=1):
            return self.random.sample(columns, self.random.randint(min(least, len(columns)), len(columns)))

        def select(items, rest, distinct=""):
            self.random.shuffle(items)
            given = [next(names) for _ in items]
            return f"SELECT {distinct}{', '.join(f'{i} AS {n}' for i, n in zip(items, given, strict=True))} {rest}", given

        source, all_columns = f"FROM ({query}) {alias}", ", ".join(columns)
        kind = self.some("group", "group", "group", "distinct", "show", "show", "number", "filter", "join", "join", "set", "limit", "with")
        if kind == "group":
            keys = [self.some(key, key, key, f"{key} % 2", f"coalesce({key}, 1)") for key in some_columns(0)[:3]]
            made = [self.some("count(*)", f"sum({computed()})", f"max({computed()})", f"min({computed()}) + 1", f"count(DISTINCT {computed()})")
                    for _ in range(self.random.randint(0 if keys else 1, 2))]  # fmt: skip
            shown = [key for key in keys if self.often(0.7)] + made
            by = f" GROUP BY {', '.join(keys)}" if keys else ""
            having = f" HAVING {self.condition(['count(*)', *keys], 1)}" if self.often(0.2) else ""
            return select(shown or ["count(*)"], source + by + having)
        if kind == "distinct":
            return select([*some_columns(), *([computed()] if self.often(0.5) else [])], source, "DISTINCT ")
        if kind == "show":
            return select([*some_columns(0), *(computed() for _ in range(self.random.randint(1, 2)))], source)
        if kind == "number":
            part = self.some("", f"PARTITION BY {self.random.choice(columns)} ")
            number = self.some("row_number()", "row_number()", "rank()", f"sum({self.random.choice(columns)})", "count(*)")
            return select([*some_columns(), f"{number} OVER ({part}ORDER BY {all_columns})"], source)
        if kind == "filter":
            where = self.some(self.condition(columns, 1), f"{self.random.choice(columns)} {self.some('', 'NOT ')}IN (SELECT k FROM b)",
                              f"EXISTS (SELECT 1 FROM b WHERE b.v = {alias}.{self.random.choice(columns)})")  # fmt: skip
            return select(some_columns(), f"{source} WHERE {where}")
        if kind == "join":
            join = self.some("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
            on = f"{alias}.{self.random.choice(columns)} = t.{self.some('id', 'k', 'v')}"
            other = self.some("a", "b", "(SELECT k, max(id) AS id, count(*) AS v FROM b GROUP BY k)", "(SELECT DISTINCT k, v, 1 AS id FROM a)")
            return select([*some_columns(), *self.random.sample(["t.id", "t.k", "t.v"], self.random.randint(0, 2))], f"{source} {join} {other} t ON {on}")
        if kind == "set":
            operation = self.some("UNION", "UNION ALL", "INTERSECT", "EXCEPT")
            given = [next(names) for _ in columns]
            shown = ", ".join(f"{c} AS {n}" for c, n in zip(columns, given, strict=True))
            other = ", ".join(self.some("id", "k", "v", "1") for _ in columns)
            return f"SELECT {shown} {source} {operation} SELECT {other} FROM {self.some('a', 'b')}", given
        if kind == "limit":
            order = ", ".join(f"{c}{self.some('', ' DESC', ' NULLS FIRST')}" for c in self.random.sample(columns, len(columns)))
            return f"SELECT {all_columns} {source} ORDER BY {order} LIMIT {self.random.randint(1, 6)}", columns
        text, given = select(some_columns(), f"FROM {alias}")
        return f"WITH {alias} AS ({query}) {text}", given
