"""Random queries of several layers over typed columns, lists, differences of times, and recursion."""

from typed import TYPED, TypedQueries

# What a column of a list holds, with the values that may stand in it.
LISTS = {
    "ns": ("BIGINT[]", "i", ["{}", "{1}", "{1,2,3}", "{3,NULL,1}", "{NULL}", "{0,0,2}"]),
    "ws": ("TEXT[]", "s", ["{}", "{a}", "{b,a,b}", "{a,NULL}", '{"x y",""}']),
}


class LayeredQueries(TypedQueries):
    """Queries over `e`, and over `l`, which has an `id`, a small number `k`, and a column of each list. What is in scope is in `columns`: the columns of each type by the alias of their table."""

    def __init__(self, seed):
        super().__init__(seed)
        self.columns = {}
        self.named = 0

    def literal(self, kind):
        """Numbers alone have other types, and so other digits as text, which docs/sql.md says."""
        return f"{super().literal(kind)}{ {'n': '::numeric(10,2)', 'f': '::float8'}.get(kind, '')}"

    def plain(self, kind, of="e"):
        if of not in self.columns:
            return super().plain(kind, of)
        there = [name for name, type_of in self.columns[of] if type_of == kind]
        return f"{of}.{self.random.choice(there)}" if there else self.literal(kind)

    def name(self):
        self.named += 1
        return f"c{self.named}"

    # ---- layers ----

    def layers(self):
        """Each reads the one before, and shows, groups, numbers, joins, or cuts off some of it."""
        kinds = [*TYPED, "i"]
        columns = [("id", "i"), ("k", "i"), *((name, name) for name in TYPED)]
        text = "e"
        for _ in range(self.random.randint(2, 4)):
            alias = self.alias()
            self.columns[alias] = columns
            source = f"{text} {alias}" if text == "e" else f"({text}) {alias}"
            text, columns = self.layer(source, alias, columns, kinds)
        return text

    def chained(self):
        """Parts under WITH that read each other, two of which meet in the end."""
        kinds, parts = [*TYPED, "i"], [("e", [("id", "i"), ("k", "i"), *((name, name) for name in TYPED)], None)]
        for n in range(self.random.randint(2, 4)):
            name, columns, _ = self.random.choice(parts[-2:])
            alias = self.alias()
            self.columns[alias] = columns
            text, columns = self.layer(f"{name} {alias}", alias, columns, kinds)
            parts.append((f"w{n}", columns, text))
        (one, of_one, _), (other, of_other, _) = parts[-1], self.random.choice(parts)
        a, b = self.alias(), self.alias()
        self.columns |= {a: of_one, b: of_other}
        kind = self.random.choice([kind for _, kind in of_one])
        on = f"{self.plain(kind, a)} {self.some('=', '=', 'IS NOT DISTINCT FROM', '<')} {self.plain(kind, b)}"
        if self.often(0.3):
            on += f" AND {self.typed_value('y', 1, self.some(a, b))}"
        shown = [self.plain(self.random.choice(kinds), self.some(a, b)) for _ in range(self.random.randint(1, 3))]
        join = f"FROM {one} {a} {self.some('JOIN', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN')} {other} {b} ON {on}"
        last = self.some(
            f"SELECT {', '.join(shown)} {join}", f"SELECT DISTINCT {', '.join(shown)} {join}",
            f"SELECT {shown[0]}, count(*), max({self.plain('s', a)}), sum({self.plain('n', b)}) {join} GROUP BY {shown[0]}",
            f"SELECT count(*), bool_or({self.typed_value('y', 1, a)}) {join} WHERE {self.typed_value('y', 1, b)}",
            f"SELECT {', '.join(f'{a}.{c}' for c, _ in of_one)} FROM {one} {a} WHERE {self.some('', 'NOT ')}EXISTS (SELECT 1 FROM {other} {b} WHERE {on})",
        )  # fmt: skip
        return f"WITH {', '.join(f'{name} AS ({text})' for name, _, text in parts[1:])} {last}"

    def layer(self, source, alias, columns, kinds):
        def v(kind, depth=1):
            return self.typed_value(kind, depth, alias)

        def items(least=1):
            """Some columns as they are, and some that are computed."""
            made = [(f"{alias}.{c}", kind) for c, kind in self.random.sample(columns, self.random.randint(min(least, len(columns)), min(4, len(columns))))]
            made += [(v(kind, 2), kind) for kind in self.random.choices(kinds, k=self.random.randint(0, 2))]
            return made or [(v("i"), "i")]

        def select(made, rest, distinct=""):
            given = [(self.name(), kind) for _, kind in made]
            listed = ", ".join(f"{text} AS {name}" for (text, _), (name, _) in zip(made, given, strict=True))
            return f"SELECT {distinct}{listed} {rest}", given

        where = f" WHERE {v('y', 2)}" if self.often(0.3) else ""
        every = ", ".join(f"{alias}.{c}" for c, _ in columns)
        kind = self.some("show", "show", "group", "group", "group", "distinct", "window", "window", "join", "semi", "union", "limit", "distinct on", "lateral", "scalar")
        if kind == "group":
            keys = items(0)[:2] if self.often(0.85) else []
            made = [*keys, *(self.collected(alias, columns) for _ in range(self.random.randint(1, 3)))]
            by = f" GROUP BY {', '.join(str(n + 1) for n in range(len(keys)))}" if keys else ""
            having = f" HAVING count(*) {self.some('>', '<')} {self.random.randint(1, 4)}" if self.often(0.2) else ""
            return select(made, f"FROM {source}{where}{by}{having}")
        if kind == "distinct":
            return select(items(), f"FROM {source}{where}", "DISTINCT ")
        if kind == "window":
            one = self.random.choice(kinds)
            part = f"PARTITION BY {v(self.random.choice(kinds))}" if self.often(0.7) else ""
            number = self.some("i", "n", "f")
            call, of = self.some((f"lag({v(one)})", one), (f"lead({v(one)}, 2)", one), (f"first_value({v(one)})", one), ("row_number()", "i"), ("rank()", "i"), ("ntile(2)", "i"),
                                 (f"sum({v('n')})", "n"), (f"count({v(one)})", "i"), (f"max({v(number)})", number), (f"min({v('d')})", "d"), (f"max({v('s')})", "s"), (f"bool_or({v('y')})", "y"))  # fmt: skip
            if self.often(0.4):
                rest = f"FROM {source}{where} WINDOW w0 AS ({part}), w1 AS (w0 ORDER BY {every})"
                return select([*items(), (f"{call} OVER w1", of), *([("count(*) OVER w0", "i")] if self.often(0.5) else [])], rest)
            return select([*items(), (f"{call} OVER ({part} ORDER BY {every})", of)], f"FROM {source}{where}")
        if kind in ("join", "semi", "lateral"):
            name, one = self.random.choice(columns)
            other = self.alias()
            if kind == "semi":
                same = f"{self.typed_value(one, 1, 'e')} = {alias}.{name}"
                condition = self.some(f"{alias}.{name} {self.some('IN', 'NOT IN')} (SELECT {self.typed_value(one, 1, 'e')} FROM e WHERE {self.typed_value('y', 1, 'e')})",
                                      f"{self.some('', 'NOT ')}EXISTS (SELECT 1 FROM e WHERE {same} AND {self.typed_value('y', 1, 'e')})")  # fmt: skip
                return select(items(), f"FROM {source} WHERE {condition}")
            self.columns[other] = [("id", "i"), ("k", "i"), *((n, n) for n in TYPED)]
            if kind == "lateral":
                inner, given = select([self.collected(other, self.columns[other])], f"FROM e {other} WHERE {self.plain(one, other)} = {alias}.{name}")
                third = self.alias()
                return select([*items(), (f"{third}.{given[0][0]}", given[0][1])], f"FROM {source} CROSS JOIN LATERAL ({inner}) {third}{where}")
            on = f"{alias}.{name} = {self.typed_value(one, 1, other)}"
            if self.often(0.25):
                on += f" AND {self.typed_value('y', 1, self.some(alias, other))}"
            extra = [(self.typed_value(of, 1, other), of) for of in self.random.choices(kinds, k=self.random.randint(0, 2))]
            return select([*items(), *extra], f"FROM {source} {self.some('JOIN', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN')} e {other} ON {on}")
        if kind == "union":
            made = items()
            first, given = select(made, f"FROM {source}{where}")
            second = ", ".join(self.typed_value(of, 2, "e") for _, of in made)
            return f"{first} {self.some('UNION', 'UNION ALL', 'INTERSECT', 'EXCEPT')} SELECT {second} FROM e", given
        if kind == "limit":
            order = ", ".join(f"{alias}.{c}{self.some('', ' DESC', ' NULLS FIRST')}" for c, _ in self.random.sample(columns, len(columns)))
            text, given = select([(f"{alias}.{c}", of) for c, of in columns], f"FROM {source}{where} ORDER BY {order} LIMIT {self.random.randint(1, 9)}")
            return text, given
        if kind == "distinct on":
            order = self.random.sample(columns, len(columns))
            listed = ", ".join(f"{alias}.{c}{self.some('', ' DESC')}" for c, _ in order)
            text, given = select([(f"{alias}.{c}", of) for c, of in columns], f"FROM {source}{where} ORDER BY {listed}", f"DISTINCT ON ({alias}.{order[0][0]}) ")
            return text, given
        if kind == "scalar":
            made, of = self.collected("e", None)
            name, one = self.random.choice(columns)
            return select([*items(), (f"(SELECT {made} FROM e WHERE {self.plain(one, 'e')} = {alias}.{name})", of)], f"FROM {source}{where}")
        return select(items(), f"FROM {source}{where}")

    def collected(self, of, columns):
        """An aggregate and its type."""

        def v(kind):
            return self.typed_value(kind, 1, of)

        kind = self.random.choice([*TYPED, "i"])
        least = self.some("s", "d", "t", "n", "f", "i")
        only = f" FILTER (WHERE {v('y')})" if self.often(0.25) else ""
        text = self.plain("s", of)
        every = f"{of}.id" if columns is None else ", ".join(f"{of}.{c}" for c, _ in columns)
        return self.some(
            ("count(*)" + only, "i"), (f"count({self.some('', 'DISTINCT ')}{v(kind)}){only}", "i"), (f"{self.some('min', 'max')}({v(least)}){only}", least), (f"sum({v('n')}){only}", "n"),
            (f"sum({v('i')}){only}::bigint", "i"), (f"round(avg({v('n')}), 2)", "n"), (f"{self.some('bool_and', 'bool_or')}({v('y')}){only}", "y"),
            (f"string_agg({self.some('', 'DISTINCT ')}{text}, ',' ORDER BY {text}){only}", "s"),
            (f"string_agg({v('s')}, '-' ORDER BY {every}){only}", "s"), (f"(array_agg({v(least)} ORDER BY {every}{self.some('', ' DESC')}){only})[1]", least),
            (f"percentile_disc({self.some('0', '0.5', '0.9')}) WITHIN GROUP (ORDER BY {v(least)})", least),
        )  # fmt: skip

    # ---- lists ----

    def list_value(self, name, depth=2, of="l"):
        """A list like that column's."""
        if depth == 0 or self.often(0.25):
            return f"{of}.{name}" if self.often(0.8) else f"'{self.random.choice(LISTS[name][2])}'::{LISTS[name][0]}"

        def v():
            return self.list_value(name, depth - 1, of)

        one = self.element(name, depth - 1, of)
        return self.some(
            f"array_append({v()}, {one})", f"array_prepend({one}, {v()})", f"array_cat({v()}, {v()})", f"array_remove({v()}, {one})", f"({v()} || {v()})", f"({v()} || {one})",
            f"array_replace({v()}, {one}, {self.element(name, depth - 1, of)})", f"({v()})[{self.random.randint(1, 2)}:{self.random.randint(1, 3)}]", f"ARRAY[{one}, {self.element(name, depth - 1, of)}]",
            f"coalesce({v()}, '{{}}'::{LISTS[name][0]})", f"CASE WHEN {self.list_condition(depth - 1, of)} THEN {v()} ELSE {v()} END", f"nullif({v()}, {v()})",
            f"({v()})[{self.some('', '0', '-1', of + '.k')}:{self.some('', '0', '2', of + '.k')}]", f"array_cat({v()}, {self.some('NULL', v())})", f"({v()} || {self.some('NULL', v())})",
            f"array_fill(({one})::{LISTS[name][0][:-2]}, ARRAY[{self.random.randint(0, 2)}])", f"trim_array({v()} || {one}, 1)",
        )  # fmt: skip

    def element(self, name, depth, of):
        kind = LISTS[name][1]
        if kind == "i":
            plain = [f"{of}.k", f"({self.random.randint(0, 3)})", f"({of}.k + 1)"]
            if depth > 0:
                inner = self.list_value(self.some(*LISTS), depth - 1, of)
                plain += [f"cardinality({inner})", f"array_length({inner}, 1)", f"array_position({self.list_value('ns', depth - 1, of)}, {of}.k)", f"({self.list_value('ns', depth - 1, of)})[{self.random.randint(1, 3)}]", f"({self.list_value('ns', depth - 1, of)})[{self.some('0', '-1', of + '.k')}]", f"array_{self.some('upper', 'lower', 'length')}({inner}, {self.random.randint(0, 2)})",
                          f"(SELECT {self.some('sum', 'max', 'count')}(u) FROM unnest({self.list_value('ns', depth - 1, of)}) AS u)"]  # fmt: skip
        else:
            plain = [f"'{self.some('a', 'b', '', 'x y')}'", f"{of}.k::text"]
            if depth > 0:
                plain += [f"array_dims({self.list_value(self.some(*LISTS), depth - 1, of)})", f"({self.list_value('ws', depth - 1, of)})[{self.random.randint(1, 3)}]", f"array_to_string({self.list_value(self.some(*LISTS), depth - 1, of)}, ','{self.some('', ', $$-$$')})"]
        return self.random.choice(plain)

    def list_condition(self, depth=1, of="l"):
        name = self.some(*LISTS)
        v, one = self.list_value(name, depth, of), self.element(name, depth, of)
        return self.some(
            f"({one} {self.some('=', '<>', '<')} {self.some('ANY', 'ALL')} (array_remove({v}, NULL)))", f"({v} {self.some('=', '<>', 'IS DISTINCT FROM')} {self.list_value(name, depth, of)})",
            f"({v} @> ARRAY[{one}])", f"({v} && {self.list_value(name, depth, of)})", f"({v} IS {self.some('', 'NOT ')}NULL)", f"({one} IS NULL)",
            f"({v} {self.some('@>', '<@')} {self.list_value(name, depth, of)})", f"({one} {self.some('=', '<>', '<', '>=')} {self.some('ANY', 'ALL')} ({v}))", f"({v} {self.some('@>', '&&', '=')} '{self.random.choice(LISTS[name][2])}')",
        )  # fmt: skip

    def lists(self):
        name = self.some(*LISTS)
        v = self.list_value(name)
        kind = self.some("show", "show", "where", "unnest", "unnest", "left", "group", "agg", "lateral", "select", "join", "rows")
        where = f" WHERE {self.list_condition()}" if self.often(0.3) else ""
        if kind == "show":
            return f"SELECT l.id, {v}, {self.element(name, 2, 'l')} FROM l{where}"
        if kind == "where":
            return f"SELECT l.id FROM l WHERE {self.list_condition(2)} {self.some('AND', 'OR')} {self.list_condition(2)}"
        if kind == "unnest":
            return f"SELECT l.id, u.x, u.n FROM l CROSS JOIN unnest({v}) WITH ORDINALITY AS u (x, n){where}"
        if kind == "left":
            return f"SELECT l.id, u.x FROM l LEFT JOIN unnest({v}) AS u (x) ON {self.some('true', f'u.x <> {self.element(name, 0, chr(108))}')}{where}"
        if kind == "group":
            return f"SELECT {v} AS g, count(*), sum(l.k) FROM l{where} GROUP BY {v}"
        if kind == "agg":
            return f"SELECT l.k, array_agg({self.element(name, 2, 'l')} ORDER BY l.id), cardinality(array_agg(DISTINCT {self.element(name, 1, 'l')})) FROM l{where} GROUP BY l.k"
        if kind == "lateral":
            return f"SELECT l.id, q.* FROM l CROSS JOIN LATERAL (SELECT count(*), max(x), string_agg(x::text, ',' ORDER BY x) FROM unnest({v}) AS u (x) WHERE x IS NOT NULL) q{where}"
        if kind == "rows":
            order = self.some("m.id", "m.id DESC", f"{self.element(name, 1, 'm')}, m.id", "m.id LIMIT 2")
            return f"SELECT l.id, ARRAY(SELECT {self.element(name, 1, 'm')} FROM l m WHERE m.k = l.k ORDER BY {order}), {v} FROM l{where}"
        if kind == "select":
            return f"SELECT id, x, count(*) FROM (SELECT l.id, unnest({v}) AS x FROM l{where}) q GROUP BY id, x"
        return f"SELECT l.id, m.id FROM l {self.some('JOIN', 'LEFT JOIN', 'FULL JOIN')} l m ON {v} = m.{name}"

    # ---- differences of times ----

    def span(self, depth=1, of="e"):
        def v(kind):
            return self.typed_value(kind, depth, of)

        return self.some(f"({v('t')} - {v('t')})", f"({v('t')} - {v('d')})", f"({v('t')} - TIMESTAMP '2020-01-01')", f"({v('t')} - date_trunc('{self.some('day', 'month', 'hour')}', {of}.t))")

    def spans(self):
        one, field = self.span(), self.some("day", "hour", "minute", "second", "epoch")
        fields = self.some(f"extract({field} FROM {one})", f"date_part('{field}', {one})", f"floor(extract({field} FROM {one}) / 60)", f"extract(epoch FROM {one}) / 3600")
        kind = self.some("show", "field", "field", "compare", "add", "aggregate", "order", "group", "window", "char")
        where = f" WHERE {self.typed_value('y', 1)}" if self.often(0.3) else ""
        if kind == "show":
            return f"SELECT e.id, {one} FROM e{where}"
        if kind == "field":
            return f"SELECT e.id, {fields}, extract({self.some('year', 'month', 'dow', 'epoch', 'hour')} FROM {self.typed_value('t', 1)}) FROM e{where}"
        if kind == "compare":
            condition = self.some(f"{one} {self.some('>', '<', '>=', '=')} INTERVAL '{self.some('1 day', '2 hours', '0 seconds', '30 days', '-5 minutes')}'", f"{one} {self.some('<', '<>')} {self.span()}",
                                  f"{one} BETWEEN INTERVAL '0 hours' AND INTERVAL '400 days'", f"{one} IS NULL")  # fmt: skip
            return f"SELECT e.id, {condition} FROM e{where}"
        if kind == "add":
            return f"SELECT e.id, {self.typed_value('t', 1)} {self.some('+', '-')} {one}, {self.typed_value('d', 1)} + {one} FROM e{where}"
        if kind == "aggregate":
            return f"SELECT e.k, {self.some('max', 'min')}({one}), {self.some('sum', 'avg', 'count')}({self.some(one, one, 'extract(epoch FROM ' + one + ')')}) FROM e{where} GROUP BY e.k"
        if kind == "order":
            return f"SELECT e.id FROM e{where} ORDER BY {one}{self.some('', ' DESC')}, e.id LIMIT 4"
        if kind == "group":
            return f"SELECT {fields} AS g, count(*) FROM e{where} GROUP BY 1"
        if kind == "window":
            return f"SELECT e.id, {self.some('e.t', 'e.d')} - lag({self.some('e.t', 'e.d')}) OVER (PARTITION BY e.k ORDER BY e.t, e.id) FROM e{where}"
        return f"SELECT e.id, to_char({self.typed_value('t', 1)}, '{self.some('YYYY-MM-DD HH24:MI:SS', 'Day, DD Month YYYY', 'IYYY-IW', 'Q', 'HH12:MI AM', 'US', 'DDD', 'D', 'FMMonth', 'TMMon', 'J', 'WW', 'YY')}') FROM e{where}"

    # ---- recursion ----

    def recursive(self):
        table, first = self.some("a", "b", "c"), self.some("id", "k", "v")
        most = self.random.randint(3, 6)
        union = self.some("UNION", "UNION", "UNION ALL")
        step = self.some(f"r.x + 1, r.n + 1 FROM r WHERE r.n < {most}", f"t.{self.some('id', 'k', 'v')}, r.n + 1 FROM r JOIN {table} t ON t.{self.some('k', 'v')} = r.x WHERE r.n < {min(most, 4)}",
                         f"t.{self.some('id', 'v')}, r.n + 1 FROM r, {self.some('a', 'b', 'c')} t WHERE t.k = r.x AND t.v > r.n AND r.n < 4",
                         f"r.x, r.n + 1 FROM r WHERE r.n < {most} AND {self.some('NOT EXISTS', 'EXISTS')} (SELECT 1 FROM {table} t WHERE t.k = r.n)")  # fmt: skip
        text = f"WITH RECURSIVE r (x, n) AS (SELECT {first}, 0::bigint FROM {self.some('a', 'b', 'c')}{self.some('', f' WHERE {first} < 2')} {union} SELECT {step}) "
        return text + self.some("SELECT * FROM r", "SELECT x, count(*), max(n) FROM r GROUP BY x", f"SELECT q.id, r.n FROM {table} q LEFT JOIN r ON r.x = q.k", "SELECT DISTINCT x FROM r WHERE n > 1",
                                "SELECT x, n, row_number() OVER (PARTITION BY x ORDER BY n, x) FROM r WHERE x IS NOT NULL GROUP BY x, n", f"SELECT (SELECT count(*) FROM r WHERE r.x = q.k) AS c, q.k FROM {table} q")  # fmt: skip
