//! Random queries. Every relation has columns `c0, c1, ...` with a known type, so that any two can be combined.

use super::random::Random;
use super::ranking;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Type {
    Int,
    Text,
    Decimal,
    Bool,
    Time,
}

/// A query in parentheses can stand wherever a table can.
pub struct Relation {
    pub sql: String,
    pub columns: Vec<Type>,
}

/// A random query of up to three nested levels.
pub fn generate(random: &mut Random) -> String {
    let depth = 1 + random.below(3);
    let relation = relation(random, depth);
    relation.sql
}

/// A relation of few levels.
pub fn some_relation(random: &mut Random) -> Relation {
    let depth = random.below(3);
    relation(random, depth)
}

pub fn columns_of(r: &Relation, wanted: Type) -> Vec<usize> {
    (0..r.columns.len()).filter(|i| r.columns[*i] == wanted).collect()
}

fn table(random: &mut Random) -> Relation {
    let n = random.below(3);
    let sql = format!("SELECT k AS c0, v AS c1, s AS c2, d AS c3, b AS c4, ts AS c5 FROM t{n}");
    Relation { sql, columns: vec![Type::Int, Type::Int, Type::Text, Type::Decimal, Type::Bool, Type::Time] }
}

fn relation(random: &mut Random, depth: usize) -> Relation {
    if depth == 0 {
        return table(random);
    }
    match random.below(17) {
        0 | 1 => map(random, depth),
        2..=5 => join(random, depth),
        6..=8 => aggregate(random, depth),
        9 | 10 => set_operation(random, depth),
        11 => exists(random, depth),
        12 => {
            let input = relation(random, depth - 1);
            ranking::window(random, input)
        }
        13 => {
            let input = relation(random, depth - 1);
            ranking::limit(random, input)
        }
        14 => scalar(random, depth),
        15 => sessions(random, depth),
        _ => windows(random, depth),
    }
}

/// An integer expression over a relation named `a`.
pub fn int(random: &mut Random, r: &Relation, alias: &str) -> String {
    let ints = columns_of(r, Type::Int);
    if ints.is_empty() {
        return format!("{}", random.below(4));
    }
    let c = format!("{alias}.c{}", random.pick(&ints));
    match random.below(5) {
        0 => format!("({c} + {})", random.below(3)),
        1 => format!("coalesce({c}, {})", random.below(3)),
        2 => format!("(CASE WHEN {c} > 2 THEN 1 ELSE {c} END)"),
        _ => c,
    }
}

/// An expression of a type, over a relation named `a` or otherwise.
fn value(random: &mut Random, r: &Relation, of: Type, alias: &str) -> String {
    let there = columns_of(r, of);
    if of == Type::Int || there.is_empty() {
        return match of {
            Type::Int => from_others(random, r, alias),
            Type::Text => "'a'".into(),
            Type::Decimal => "CAST(1.5 AS DECIMAL(10,2))".into(),
            Type::Bool => "true".into(),
            Type::Time => "TIMESTAMP '1970-01-01 00:02:00'".into(),
        };
    }
    let c = format!("{alias}.c{}", random.pick(&there));
    let made = match of {
        Type::Text => random.pick(&[
            "upper(#)",
            "left(#, 1)",
            "# || 'b'",
            "coalesce(#, 'z')",
            "nullif(#, 'a')",
            "replace(#, 'a', 'bb')",
        ]),
        Type::Decimal => random.pick(&[
            "(- #)",
            "abs(#)",
            "CAST(# * 2 AS DECIMAL(10,2))",
            "coalesce(#, 0.25)",
            "nullif(#, 1.5)",
            "CAST(round(#, 1) AS DECIMAL(10,2))",
        ]),
        Type::Bool => {
            random.pick(&["(NOT #)", "(# IS NULL)", "(# IS NOT TRUE)", "coalesce(#, false)", "(# OR # IS NULL)", "#"])
        }
        _ => random.pick(&[
            "date_trunc('minute', #)",
            "# + INTERVAL '1 minute'",
            "# - INTERVAL '30 seconds'",
            "nullif(#, TIMESTAMP '1970-01-01 00:01:00')",
            "coalesce(#, TIMESTAMP '1970-01-01 00:02:00')",
            "#",
        ]),
    };
    made.replace('#', &c)
}

/// A whole number out of values of other types.
fn from_others(random: &mut Random, r: &Relation, alias: &str) -> String {
    let i = random.below(r.columns.len());
    let c = format!("{alias}.c{i}");
    match r.columns[i] {
        Type::Int => format!("nullif({c}, 1)"),
        Type::Text => format!("CAST(length({c}) AS BIGINT)"),
        Type::Decimal => format!("CAST(floor({c}) AS BIGINT)"),
        Type::Bool => format!("CAST({c} AS BIGINT)"),
        Type::Time => format!("CAST(date_part('epoch', {c}) AS BIGINT) % 7"),
    }
}

/// A condition about values of any type.
fn typed_condition(random: &mut Random, r: &Relation, alias: &str) -> String {
    let of = *random.pick(&[Type::Text, Type::Decimal, Type::Bool, Type::Time]);
    let (one, other) = (value(random, r, of, alias), value(random, r, of, alias));
    match random.below(5) {
        0 => format!("{one} IS NOT NULL"),
        1 => format!("({one} = {other} OR {})", condition(random, r, alias)),
        2 => format!("{one} IS DISTINCT FROM {other}"),
        _ => format!("{one} {} {other}", random.pick(&["<", ">=", "<>", "="])),
    }
}

pub fn condition(random: &mut Random, r: &Relation, alias: &str) -> String {
    if random.newer(12) {
        return typed_condition(random, r, alias);
    }
    let texts = columns_of(r, Type::Text);
    match random.below(6) {
        0 if !texts.is_empty() => format!("{alias}.c{} LIKE 'a%'", random.pick(&texts)),
        1 => format!("{} IS NOT NULL", int(random, r, alias)),
        2 => format!("{} IN (0, 2, 3)", int(random, r, alias)),
        3 => format!("{} = {}", int(random, r, alias), int(random, r, alias)),
        _ => format!("{} {} {}", int(random, r, alias), random.pick(&["<", ">=", "<>", "="]), random.below(5)),
    }
}

fn map(random: &mut Random, depth: usize) -> Relation {
    let input = relation(random, depth - 1);
    let mut columns = vec![];
    let mut exprs = vec![];
    for i in 0..input.columns.len() {
        if random.chance(80) {
            exprs.push(format!("a.c{i} AS c{}", columns.len()));
            columns.push(input.columns[i]);
        }
    }
    exprs.push(format!("{} AS c{}", int(random, &input, "a"), columns.len()));
    columns.push(Type::Int);
    if random.newer(40) {
        let of = *random.pick(&[Type::Int, Type::Text, Type::Decimal, Type::Bool, Type::Time]);
        exprs.push(format!("{} AS c{}", value(random, &input, of, "a"), columns.len()));
        columns.push(of);
    }
    let filter = if random.chance(70) { format!(" WHERE {}", condition(random, &input, "a")) } else { String::new() };
    let distinct = if random.chance(20) { "DISTINCT " } else { "" };
    Relation { sql: format!("SELECT {distinct}{} FROM ({}) a{filter}", exprs.join(", "), input.sql), columns }
}

fn join(random: &mut Random, depth: usize) -> Relation {
    let left = relation(random, depth - 1);
    let inner = random.below(2);
    let right = relation(random, inner.min(depth - 1));
    let kind = *random.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "JOIN", "LEFT JOIN"]);
    let equal = format!("{} = {}", int(random, &left, "a"), int(random, &right, "b"));
    let equal = if random.newer(15) {
        let of = *random.pick(&[Type::Int, Type::Text, Type::Decimal, Type::Bool, Type::Time]);
        format!("{} = {}", value(random, &left, of, "a"), value(random, &right, of, "b"))
    } else {
        equal
    };
    let texts = (columns_of(&left, Type::Text), columns_of(&right, Type::Text));
    let mut on = if random.chance(30) && !texts.0.is_empty() && !texts.1.is_empty() {
        format!("{equal} AND a.c{} = b.c{}", random.pick(&texts.0), random.pick(&texts.1))
    } else {
        equal
    };
    if random.chance(35) {
        let op = *random.pick(&["<", "<=", "<>"]);
        on = format!("{on} AND {} {op} {}", int(random, &left, "a"), int(random, &right, "b"));
    }
    if random.chance(8) && kind != "FULL JOIN" {
        on = format!("{} < {}", int(random, &left, "a"), int(random, &right, "b"));
    }
    let mut columns = vec![];
    let mut exprs = vec![];
    for (alias, r) in [("a", &left), ("b", &right)] {
        for i in 0..r.columns.len() {
            if random.chance(60) || columns.is_empty() {
                exprs.push(format!("{alias}.c{i} AS c{}", columns.len()));
                columns.push(r.columns[i]);
            }
        }
    }
    let sql = format!("SELECT {} FROM ({}) a {kind} ({}) b ON {on}", exprs.join(", "), left.sql, right.sql);
    Relation { sql, columns }
}

fn aggregate(random: &mut Random, depth: usize) -> Relation {
    let input = relation(random, depth - 1);
    let mut columns = vec![];
    let mut exprs = vec![];
    let mut groups = vec![];
    for _ in 0..random.below(3) {
        let i = random.below(input.columns.len());
        if !groups.contains(&format!("a.c{i}")) {
            groups.push(format!("a.c{i}"));
            exprs.push(format!("a.c{i} AS c{}", columns.len()));
            columns.push(input.columns[i]);
        }
    }
    for _ in 0..1 + random.below(4) {
        let (call, kind) = call(random, &input);
        exprs.push(format!("{call} AS c{}", columns.len()));
        columns.push(kind);
    }
    let sets = (!groups.is_empty() && random.chance(25)).then(|| grouping_sets(random, &groups));
    if sets.is_some() && random.chance(60) {
        exprs.push(format!("grouping({}) AS c{}", random.pick(&groups), columns.len()));
        columns.push(Type::Int);
    }
    let mut sql = format!("SELECT {} FROM ({}) a", exprs.join(", "), input.sql);
    if !groups.is_empty() {
        sql.push_str(&format!(" GROUP BY {}", sets.unwrap_or_else(|| groups.join(", "))));
        if random.chance(20) {
            sql.push_str(" HAVING count(*) > 1");
        }
    }
    Relation { sql, columns }
}

fn grouping_sets(random: &mut Random, groups: &[String]) -> String {
    let all = groups.join(", ");
    match random.below(4) {
        0 => format!("ROLLUP ({all})"),
        1 => format!("CUBE ({all})"),
        2 => format!("GROUPING SETS (({all}), ({}), ({}))", random.pick(groups), random.pick(groups)),
        _ => format!("GROUPING SETS (({all}), ())"),
    }
}

/// An aggregate that reads its values in an order.
fn ordered_call(random: &mut Random, input: &Relation, filter: &str) -> (String, Type) {
    let value = int(random, input, "a");
    let by = format!("a.c{}", random.below(input.columns.len()));
    let direction = *random.pick(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
    let order =
        if by == value { format!("ORDER BY {by}{direction}") } else { format!("ORDER BY {by}{direction}, {value}") };
    let distinct = if random.chance(30) { "DISTINCT " } else { "" };
    let texts = columns_of(input, Type::Text);
    // DataFusion 54.1 takes a number for the place of a column.
    let is_number = |value: &str| value.bytes().all(|b| b.is_ascii_digit());
    let own = |value: &str| match is_number(value) {
        true => format!("ORDER BY ({value}){direction}"),
        false => format!("ORDER BY {value}{direction}"),
    };
    let nulls = *random.pick(&["", "", " IGNORE NULLS", " RESPECT NULLS"]);
    match random.below(7) {
        0 => {
            let order = if distinct.is_empty() { order } else { own(&value) };
            (format!("array_to_string(array_agg({distinct}{value} {order}){filter}, ',', 'N')"), Type::Text)
        }
        1 if !texts.is_empty() => {
            let text = format!("a.c{}", random.pick(&texts));
            let by_both = distinct.is_empty() && by != text;
            let order = if by_both { format!("ORDER BY {by}{direction}, {text}") } else { own(&text) };
            (format!("string_agg({distinct}{text}, '/' {order}){filter}"), Type::Text)
        }
        2 => (format!("first_value({value} {order}){nulls}{filter}"), Type::Int),
        3 => (format!("last_value({value} {order}){nulls}{filter}"), Type::Int),
        4 => (format!("nth_value({value}, {} {order}){filter}", 1 + random.below(3)), Type::Int),
        5 => (format!("CAST(median({distinct}{value}){filter} * 1000 AS BIGINT)"), Type::Int),
        _ => {
            let part = *random.pick(&["0.5", "0.25", "0.9", "1.0", "0"]);
            let order = if random.chance(50) { format!("{value} DESC") } else { value };
            // By the part, so that the seeds that are kept draw what they drew.
            let function = match part {
                "0.25" => "percentile_disc(0.25)".to_owned(),
                "1.0" => "mode()".to_owned(),
                part => format!("percentile_cont({part})"),
            };
            let call = format!("{function} WITHIN GROUP (ORDER BY {order}){filter}");
            (format!("CAST(round({call} * 100000) AS BIGINT)"), Type::Int)
        }
    }
}

/// Aggregates of durations, and of lists and structs with a NULL in them here and there.
fn newer_call(random: &mut Random, input: &Relation, value: &str, filter: &str) -> (String, Type) {
    let end = random.pick(&["min", "max"]);
    let other = int(random, input, "a");
    match random.below(4) {
        0 => (format!("array_to_string({end}(make_array({value}, {other})){filter}, ',', 'N')"), Type::Text),
        1 => (format!("get_field({end}(named_struct('x', {value}, 'y', {other})){filter}, 'y')"), Type::Int),
        _ => {
            let span = format!("arrow_cast(CAST({value} AS BIGINT), 'Duration(Microsecond)')");
            let function = random.pick(&["sum", "avg", "avg", "min", "max"]);
            (format!("arrow_cast({function}({span}){filter}, 'Int64')"), Type::Int)
        }
    }
}

fn call(random: &mut Random, input: &Relation) -> (String, Type) {
    let value = int(random, input, "a");
    let any = random.below(input.columns.len());
    let filter =
        if random.chance(20) { format!(" FILTER (WHERE {})", condition(random, input, "a")) } else { String::new() };
    let decimals = columns_of(input, Type::Decimal);
    if random.newer(8) {
        return newer_call(random, input, &value, &filter);
    }
    match random.below(18) {
        14..=16 => ordered_call(random, input, &filter),
        0 => (format!("count(*){filter}"), Type::Int),
        1 => (format!("count(a.c{any}){filter}"), Type::Int),
        2 => (format!("sum({value}){filter}"), Type::Int),
        3 => (format!("min(a.c{any}){filter}"), input.columns[any]),
        4 => (format!("max(a.c{any}){filter}"), input.columns[any]),
        5 => (format!("count(DISTINCT a.c{any}){filter}"), Type::Int),
        6 => (format!("CAST(avg({value}){filter} * 1000 AS BIGINT)"), Type::Int),
        7 if !decimals.is_empty() => {
            let c = random.pick(&decimals);
            (format!("CAST(sum(a.c{c}) AS DECIMAL(10,2))"), Type::Decimal)
        }
        8 if !decimals.is_empty() => {
            let c = random.pick(&decimals);
            (format!("CAST(avg(a.c{c}) AS DECIMAL(10,2))"), Type::Decimal)
        }
        9 => (format!("bool_or({value} > 1)"), Type::Bool),
        10 => (format!("CAST(round(var_pop({value}) * 1000 + 0.123) AS BIGINT)"), Type::Int),
        // Without DISTINCT: DataFusion 54.1 counts every copy in bit_xor if another aggregate has a DISTINCT of its own.
        11 => match random.below(3) {
            0 => (format!("bit_and({value}){filter}"), Type::Int),
            1 => (format!("bit_or({value}){filter}"), Type::Int),
            _ => (format!("bit_xor({value}){filter}"), Type::Int),
        },
        12 => (format!("sum(DISTINCT {value}){filter}"), Type::Int),
        13 => (format!("CAST(avg(DISTINCT {value}){filter} * 1000 AS BIGINT)"), Type::Int),
        _ => (format!("max({value}){filter}"), Type::Int),
    }
}

/// `(int, text)` of a relation.
fn two(random: &mut Random, r: &Relation) -> String {
    let texts = columns_of(r, Type::Text);
    let text = if texts.is_empty() { "'x'".to_string() } else { format!("a.c{}", random.pick(&texts)) };
    format!("SELECT CAST({} AS BIGINT) AS c0, {text} AS c1 FROM ({}) a", int(random, r, "a"), r.sql)
}

fn set_operation(random: &mut Random, depth: usize) -> Relation {
    let left = relation(random, depth - 1);
    let right = relation(random, random_depth(depth));
    let (a, b) = (two(random, &left), two(random, &right));
    let op = *random.pick(&["UNION ALL", "UNION", "EXCEPT", "INTERSECT"]);
    Relation { sql: format!("SELECT c0, c1 FROM ({a} {op} {b}) u"), columns: vec![Type::Int, Type::Text] }
}

fn random_depth(depth: usize) -> usize {
    depth.saturating_sub(2)
}

fn exists(random: &mut Random, depth: usize) -> Relation {
    let left = relation(random, depth - 1);
    let right = table(random);
    let all: Vec<String> = (0..left.columns.len()).map(|i| format!("a.c{i} AS c{i}")).collect();
    let mut inner = format!("{} = {}", int(random, &right, "b"), int(random, &left, "a"));
    if random.chance(40) {
        inner = format!("{inner} AND {} < {}", int(random, &right, "b"), int(random, &left, "a"));
    }
    let test = match random.below(6) {
        0 | 1 => format!("EXISTS (SELECT 1 FROM ({}) b WHERE {inner})", right.sql),
        2 => format!("NOT EXISTS (SELECT 1 FROM ({}) b WHERE {inner})", right.sql),
        3 => {
            let nulls = *random.pick(&["", " WHERE b.c1 IS NOT NULL", " WHERE b.c1 > 4"]);
            format!("{} NOT IN (SELECT b.c1 FROM ({}) b{nulls})", int(random, &left, "a"), right.sql)
        }
        4 => format!("{} IN (SELECT b.c1 FROM ({}) b)", int(random, &left, "a"), right.sql),
        _ => format!("({} OR EXISTS (SELECT 1 FROM ({}) b WHERE {inner}))", condition(random, &left, "a"), right.sql),
    };
    let sql = format!("SELECT {} FROM ({}) a WHERE {test}", all.join(", "), left.sql);
    Relation { sql, columns: left.columns }
}

fn scalar(random: &mut Random, depth: usize) -> Relation {
    let input = relation(random, depth - 1);
    let n = input.columns.len();
    let all: Vec<String> = (0..n).map(|i| format!("a.c{i} AS c{i}")).collect();
    let t = random.below(3);
    let sub = if random.chance(50) {
        format!("(SELECT max(v) FROM t{t})")
    } else {
        format!("(SELECT count(*) FROM t{t} x WHERE x.v = {})", int(random, &input, "a"))
    };
    let mut columns = input.columns.clone();
    columns.push(Type::Int);
    Relation { sql: format!("SELECT {}, {sub} AS c{n} FROM ({}) a", all.join(", "), input.sql), columns }
}

/// Time windows as the rewrite makes them: tumbling by binning, hopping by unnest.
fn windows(random: &mut Random, depth: usize) -> Relation {
    let input = relation(random, depth - 1);
    let times = columns_of(&input, Type::Time);
    let Some(ts) = times.first() else { return input };
    let bin = format!("date_bin(INTERVAL '1 minute', a.c{ts}, TIMESTAMP '1970-01-01')");
    let sql = if random.chance(50) {
        format!("SELECT {bin} AS c0, count(*) AS c1 FROM ({}) a GROUP BY {bin}", input.sql)
    } else {
        format!(
            "SELECT w AS c0, count(*) AS c1 FROM (SELECT unnest(make_array({bin}, {bin} - INTERVAL '1 minute')) AS w FROM ({}) a) h GROUP BY w",
            input.sql
        )
    };
    Relation { sql, columns: vec![Type::Time, Type::Int] }
}

/// `SESSION` as it is planned, alone or with an aggregate over it.
fn sessions(random: &mut Random, depth: usize) -> Relation {
    let input = relation(random, depth - 1);
    let times = columns_of(&input, Type::Time);
    let Some(ts) = times.first() else { return input };
    let n = input.columns.len();
    let by = random.below(n);
    let partition = if random.chance(75) { format!("PARTITION BY a.c{by} ") } else { String::new() };
    let gap = 1_000_000 * (1 + random.below(30));
    let over = format!("(a.c{ts}, {gap}) OVER ({partition}ORDER BY a.c{ts})");
    let (start, end) = (format!("fleuve_session_start{over}"), format!("fleuve_session_end{over}"));
    let filter = if random.chance(50) { format!(" WHERE a.c{ts} IS NOT NULL") } else { String::new() };
    if random.chance(50) {
        let sql = format!(
            "SELECT k AS c0, w AS c1, e AS c2, {} AS c3 FROM \
             (SELECT a.c{by} AS k, {} AS v, {start} AS w, {end} AS e FROM ({}) a{filter}) s GROUP BY k, w, e",
            random.pick(&["count(*)", "sum(v)", "min(v)"]),
            int(random, &input, "a"),
            input.sql
        );
        return Relation { sql, columns: vec![input.columns[by], Type::Time, Type::Time, Type::Int] };
    }
    let all: Vec<String> = (0..n).map(|i| format!("a.c{i} AS c{i}")).collect();
    let bound = if random.chance(50) { start } else { end };
    let mut columns = input.columns.clone();
    columns.push(Type::Time);
    Relation { sql: format!("SELECT {}, {bound} AS c{n} FROM ({}) a{filter}", all.join(", "), input.sql), columns }
}
