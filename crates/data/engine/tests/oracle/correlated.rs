//! Queries with subqueries that name what is outside of them anywhere, LATERAL among them, and with lists as tables. LIMIT and numbers are by all
//! columns, so that there is one answer.

use super::random::Random;

struct Queries<'a> {
    random: &'a mut Random,
    aliases: usize,
}

/// A random query of this kind.
pub fn generate(random: &mut Random) -> String {
    Queries { random, aliases: 0 }.query()
}

fn columns(alias: &str) -> Vec<String> {
    vec![format!("{alias}.k"), format!("{alias}.v")]
}

impl Queries<'_> {
    fn pick(&mut self, items: &[&str]) -> String {
        (*self.random.pick(items)).to_string()
    }

    fn one(&mut self, items: &[String]) -> String {
        self.random.pick(items).clone()
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("q{}", self.aliases)
    }

    fn table(&mut self) -> String {
        format!(
            "(SELECT CAST(k AS BIGINT) AS k, v, s, make_array(v, CAST(k AS BIGINT)) AS l FROM t{})",
            self.random.below(3)
        )
    }

    fn condition(&mut self, own: &[String], outer: &[String]) -> String {
        let (left, right) = (self.one(own), self.one(outer));
        let op = self.pick(&["=", "=", "=", "<", ">=", "<>"]);
        format!("{left} {op} {right}")
    }

    fn filter(&mut self, own: &[String], outer: &[String]) -> String {
        let mut conditions = vec![];
        if self.random.chance(70) {
            conditions.push(self.condition(own, outer));
        }
        if self.random.chance(30) {
            conditions.push(format!("{}{}", self.one(own), self.pick(&[" IS NOT NULL", " > 1", " IN (0, 2, 3)"])));
        }
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) }
    }

    /// A query with the columns `x` and `y`, whole numbers.
    fn body(&mut self, outer: &[String], depth: usize) -> String {
        let kind = if depth == 0 { 0 } else { self.random.below(12) };
        if kind < 4 {
            let (table, a) = (self.table(), self.alias());
            let own = columns(&a);
            let (from_own, from_outer) = (self.one(&own), self.one(outer));
            let x = match self.random.below(5) {
                0 => format!("{from_own} + {from_outer}"),
                1 => from_outer,
                _ => from_own,
            };
            let distinct = self.pick(&["", "", "", "DISTINCT "]);
            let (y, filter) = (self.one(&own), self.filter(&own, outer));
            return format!("SELECT {distinct}{x} AS x, {y} AS y FROM {table} {a}{filter}");
        }
        let (inner, q, r) = (self.body(outer, depth - 1), self.alias(), self.alias());
        match kind {
            4 | 5 => {
                let call = self.pick(&["count(*)", "max(y)", "min(y)", "count(y)", "sum(y)"]);
                let than = self.one(outer);
                let having = match self.random.below(4) {
                    0 => " HAVING count(*) > 1".to_string(),
                    1 => format!(" HAVING count(*) > {than}"),
                    _ => String::new(),
                };
                match self.random.chance(50) {
                    true => format!("SELECT max({q}.x) AS x, {call} AS y FROM ({inner}) {q}{having}"),
                    false => format!("SELECT {q}.x AS x, {call} AS y FROM ({inner}) {q} GROUP BY {q}.x{having}"),
                }
            }
            6 | 7 => {
                let limit = self.pick(&["LIMIT 1", "LIMIT 2", "LIMIT 1 OFFSET 1", "OFFSET 1"]);
                let order = self.pick(&["", " DESC", " NULLS FIRST"]);
                format!("SELECT {q}.x AS x, {q}.y AS y FROM ({inner}) {q} ORDER BY {q}.x{order}, {q}.y {limit}")
            }
            8 => {
                let other = self.body(outer, depth - 1);
                let op = self.pick(&["UNION ALL", "UNION", "EXCEPT", "INTERSECT"]);
                format!("SELECT x, y FROM ({inner}) {q} {op} SELECT x, y FROM ({other}) {r}")
            }
            9 | 10 => {
                let (other, than) = (self.body(outer, depth - 1), self.one(outer));
                let join = self.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN"]);
                let more = if self.random.chance(40) { format!(" AND {r}.y < {than}") } else { String::new() };
                format!("SELECT {q}.x AS x, {r}.y AS y FROM ({inner}) {q} {join} ({other}) {r} ON {q}.x = {r}.x{more}")
            }
            _ => {
                let call = self.pick(&["row_number()", "sum(y)", "rank()", "lag(y)"]);
                let by = self.pick(&["", "PARTITION BY x "]);
                format!("SELECT x, CAST({call} OVER ({by}ORDER BY x, y) AS BIGINT) AS y FROM ({inner}) {q}")
            }
        }
    }

    /// A value, or a condition as one.
    fn value(&mut self, outer: &[String], depth: usize) -> String {
        let (body, q, of) = (self.body(outer, depth), self.alias(), self.one(outer));
        match self.random.below(6) {
            0 | 1 => {
                let call = self.pick(&["max(x)", "count(y)", "count(*)", "min(y)", "sum(x)"]);
                format!("(SELECT {call} FROM ({body}) {q})")
            }
            2 => format!("(SELECT y FROM ({body}) {q} ORDER BY y, x LIMIT 1)"),
            3 => format!("{}EXISTS ({body})", self.pick(&["", "NOT "])),
            4 => format!("{of} {}IN (SELECT x FROM ({body}) {q})", self.pick(&["", "NOT "])),
            _ => {
                let (op, which) = (self.pick(&["=", "<", ">=", "<>"]), self.pick(&["ANY", "ALL"]));
                format!("{of} {op} {which} (SELECT y FROM ({body}) {q})")
            }
        }
    }

    fn query(&mut self) -> String {
        let mut tables = format!("{} a", self.table());
        let mut outer = columns("a");
        if self.random.chance(25) {
            let join = self.pick(&["JOIN", "LEFT JOIN"]);
            tables = format!("{tables} {join} {} b ON a.k = b.k", self.table());
            outer.extend(columns("b"));
        }
        let depth = 1 + self.random.below(2);
        match self.random.below(12) {
            0..=2 => format!("SELECT a.k, a.v, {} AS c FROM {tables}", self.value(&outer, depth)),
            3..=5 => {
                let (value, than) = (self.value(&outer, depth), self.one(&outer));
                let is_condition = !value.starts_with("(SELECT");
                let condition = if is_condition { value } else { format!("{value} >= {than}") };
                let more = if self.random.chance(20) { format!(" OR {than} = 2") } else { String::new() };
                format!("SELECT a.k, a.v FROM {tables} WHERE {condition}{more}")
            }
            6 => {
                let value = self.value(&outer, 1);
                format!("SELECT a.s, count({value}) AS c, count(*) AS n FROM {tables} GROUP BY a.s")
            }
            7 => {
                let join = self.pick(&["CROSS JOIN unnest(a.l) AS u (x)", "LEFT JOIN unnest(a.l) AS u (x) ON x > 1"]);
                format!("SELECT a.k, x FROM {tables} {join}")
            }
            8 => format!("SELECT a.k, (SELECT count(x) FROM unnest(a.l) AS u (x) WHERE x <> a.k) AS c FROM {tables}"),
            _ => {
                let (body, than) = (self.body(&outer, depth), self.one(&outer));
                let on = match self.random.below(3) {
                    0 => "true".to_string(),
                    1 => "l.y > 1".to_string(),
                    _ => format!("l.x = {than}"),
                };
                let join = self.pick(&["JOIN", "LEFT JOIN"]);
                let lateral = format!("{tables} {join} LATERAL ({body}) l ON {on}");
                if self.random.chance(20) {
                    outer.push("l.x".into());
                    return format!(
                        "SELECT a.k, l.x, m.y FROM {lateral} CROSS JOIN LATERAL ({}) m",
                        self.body(&outer, 1)
                    );
                }
                format!("SELECT a.k, a.v, l.x, l.y FROM {lateral}")
            }
        }
    }
}
