//! Window functions, the first rows of a partition, and LIMIT. Where the answer depends on the order of peers, the ORDER BY
//! names all columns, so that only equal rows are peers.

use super::query::{Relation, Type, columns_of, int};
use super::random::Random;

pub fn direction(random: &mut Random) -> &'static str {
    random.pick::<&str>(&["", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"])
}

/// All columns of a relation named `a`, in any order and direction.
pub fn total_order(random: &mut Random, r: &Relation) -> String {
    let mut columns: Vec<usize> = (0..r.columns.len()).collect();
    for i in (1..columns.len()).rev() {
        columns.swap(i, random.below(i + 1));
    }
    let keys: Vec<String> = columns.iter().map(|c| format!("a.c{c}{}", direction(random))).collect();
    keys.join(", ")
}

fn partial_order(random: &mut Random, r: &Relation) -> String {
    let first = if random.chance(70) { format!("a.c{}", random.below(r.columns.len())) } else { int(random, r, "a") };
    let second = if random.chance(30) { format!(", a.c{}", random.below(r.columns.len())) } else { String::new() };
    format!("{first}{}{second}", direction(random))
}

pub fn partition(random: &mut Random, r: &Relation) -> String {
    if random.chance(25) {
        return String::new();
    }
    let first = if random.chance(80) { format!("a.c{}", random.below(r.columns.len())) } else { int(random, r, "a") };
    let second = if random.chance(20) { format!(", a.c{}", random.below(r.columns.len())) } else { String::new() };
    format!("PARTITION BY {first}{second} ")
}

fn all_columns(r: &Relation) -> String {
    let all: Vec<String> = (0..r.columns.len()).map(|i| format!("a.c{i} AS c{i}")).collect();
    all.join(", ")
}

pub fn window(random: &mut Random, input: Relation) -> Relation {
    if random.chance(40) { firsts(random, input) } else { functions(random, input) }
}

/// `SELECT ... WHERE rank <= n`
fn firsts(random: &mut Random, input: Relation) -> Relation {
    let by = partition(random, &input);
    let kinds: &[&str] = random.pick::<&[&str]>(&[
        &["row_number"],
        &["row_number"],
        &["rank"],
        &["dense_rank"],
        &["rank", "dense_rank"],
        &["row_number", "rank"],
    ]);
    let order = if kinds.contains(&"row_number") { total_order(random, &input) } else { partial_order(random, &input) };
    let mut columns = input.columns.clone();
    let mut exprs = vec![all_columns(&input)];
    let mut conditions = vec![];
    for kind in kinds {
        let n = columns.len();
        exprs.push(format!("{kind}() OVER ({by}ORDER BY {order}) AS c{n}"));
        columns.push(Type::Int);
        let limit = 1 + random.below(4);
        let condition = match random.below(6) {
            0 => format!("w.c{n} = {limit}"),
            1 => format!("w.c{n} < {limit}"),
            2 => format!("w.c{n} BETWEEN 2 AND {}", limit + 1),
            3 => format!("{limit} >= w.c{n}"),
            _ => format!("w.c{n} <= {limit}"),
        };
        if conditions.is_empty() || random.chance(40) {
            conditions.push(condition);
        }
    }
    let whole = Relation { sql: String::new(), columns: columns.clone() };
    if random.chance(25) {
        conditions.push(format!("{} <> 1", int(random, &whole, "w")));
    }
    let shown = if random.chance(40) { input.columns.len() } else { columns.len() };
    columns.truncate(shown);
    // Often what the rows are chosen by is not shown.
    let mut places: Vec<usize> = (0..shown).collect();
    if random.newer(50) {
        places.retain(|_| random.chance(60));
        if places.is_empty() {
            places.push(random.below(shown));
        }
    }
    let columns = places.iter().map(|place| columns[*place]).collect();
    let list: Vec<String> = places.iter().enumerate().map(|(to, from)| format!("w.c{from} AS c{to}")).collect();
    let sql = format!(
        "SELECT {} FROM (SELECT {} FROM ({}) a) w WHERE {}",
        list.join(", "),
        exprs.join(", "),
        input.sql,
        conditions.join(" AND ")
    );
    Relation { sql, columns }
}

/// Window functions of all kinds. Those that tell equal rows apart are over one window: over two, the second would
/// depend on how the first one did.
fn functions(random: &mut Random, input: Relation) -> Relation {
    let mut columns = input.columns.clone();
    let mut exprs = vec![all_columns(&input)];
    let by = partition(random, &input);
    let order = total_order(random, &input);
    for _ in 0..1 + random.below(3) {
        let (call, kind) = if random.chance(35) {
            let by = if random.chance(50) { by.clone() } else { partition(random, &input) };
            of_peers(random, &input, &by)
        } else {
            of_rows(random, &input, &format!("{by}ORDER BY {order}"))
        };
        exprs.push(format!("{call} AS c{}", columns.len()));
        columns.push(kind);
    }
    Relation { sql: format!("SELECT {} FROM ({}) a", exprs.join(", "), input.sql), columns }
}

/// Functions whose answer is the same for all peers, over an order that has them.
fn of_peers(random: &mut Random, input: &Relation, by: &str) -> (String, Type) {
    let order = partial_order(random, input);
    let value = int(random, input, "a");
    let any = random.below(input.columns.len());
    let over = format!("OVER ({by}ORDER BY {order})");
    match random.below(11) {
        0 => (format!("rank() {over}"), Type::Int),
        1 => (format!("dense_rank() {over}"), Type::Int),
        2 => (format!("CAST(round(percent_rank() {over} * 1000 + 0.123) AS BIGINT)"), Type::Int),
        3 => (format!("CAST(round(cume_dist() {over} * 1000 + 0.123) AS BIGINT)"), Type::Int),
        4 => (format!("count(a.c{any}) {over}"), Type::Int),
        5 => (format!("min(a.c{any}) OVER ({by})"), input.columns[any]),
        6 | 7 => {
            let call = match random.below(5) {
                0 => format!("count(a.c{any})"),
                // Over NULLs alone it would keep the value of frames before.
                1 => format!("max(coalesce({value}, 0))"),
                2 => "CAST(1000 * avg(CAST(VALUE AS DOUBLE)) OVER () AS BIGINT)".replace("VALUE", &value),
                _ => format!("sum({value})"),
            };
            let over = format!("OVER ({by}{})", by_distance(random, input));
            let call = if call.contains("OVER ()") { call.replace("OVER ()", &over) } else { format!("{call} {over}") };
            (call, Type::Int)
        }
        8 => (format!("count(*) OVER ({by}ORDER BY {order} GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW)"), Type::Int),
        9 => (format!("max({value}) {over}"), Type::Int),
        _ => (format!("sum({value}) {over}"), Type::Int),
    }
}

/// An order with a frame by value. None leaves out the row itself: DataFusion (54.1) is wrong about those (case 2528 found it, with `1 day
/// PRECEDING AND 20 seconds PRECEDING`), and in queries it is not asked for them (`window/frames.rs` of the SQL room, with tests).
fn by_distance(random: &mut Random, input: &Relation) -> String {
    let times = columns_of(input, Type::Time);
    let direction = direction(random);
    if !times.is_empty() && random.chance(40) {
        let frame = random.pick::<&str>(&[
            "INTERVAL '1 minute' PRECEDING AND CURRENT ROW",
            "INTERVAL '30 seconds' PRECEDING AND INTERVAL '1 minute' FOLLOWING",
            "CURRENT ROW AND INTERVAL '1 minute' FOLLOWING",
            "INTERVAL '1 day' PRECEDING AND CURRENT ROW",
        ]);
        return format!("ORDER BY a.c{}{direction} RANGE BETWEEN {frame}", random.pick(&times));
    }
    let frame = random.pick::<&str>(&[
        "2 PRECEDING AND 1 FOLLOWING",
        "1 PRECEDING AND CURRENT ROW",
        "CURRENT ROW AND 2 FOLLOWING",
        "3 PRECEDING AND CURRENT ROW",
        "CURRENT ROW AND 1 FOLLOWING",
        "CURRENT ROW AND CURRENT ROW",
    ]);
    format!("ORDER BY {}{direction} RANGE BETWEEN {frame}", int(random, input, "a"))
}

fn frame(random: &mut Random) -> &'static str {
    random.pick::<&str>(&[
        "",
        "",
        " ROWS UNBOUNDED PRECEDING",
        " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW",
        " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
        " ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING",
        " ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING",
        " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
        " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
        " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING",
        " RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
        " GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
    ])
}

/// A value of a type. DataFusion (54.1) keeps the `min` and `max` of frames before where all in a frame is NULL.
fn some(kind: Type) -> &'static str {
    match kind {
        Type::Int => "0",
        Type::Text => "''",
        Type::Decimal => "CAST(0 AS DECIMAL(10,2))",
        Type::Bool => "false",
        Type::Time => "TIMESTAMP '1970-01-01 00:00:00'",
    }
}

fn of_rows(random: &mut Random, input: &Relation, over: &str) -> (String, Type) {
    let value = int(random, input, "a");
    let any = random.below(input.columns.len());
    let kind = input.columns[any];
    let frame = frame(random);
    let decimals = columns_of(input, Type::Decimal);
    let call = random.below(18);
    let nulls = if (4..=9).contains(&call) && random.newer(40) { " IGNORE NULLS" } else { "" };
    match call {
        0 | 1 => (format!("row_number() OVER ({over})"), Type::Int),
        2 => (format!("rank() OVER ({over})"), Type::Int),
        3 => (format!("ntile(3) OVER ({over})"), Type::Int),
        4 => (format!("lag(a.c{any}){nulls} OVER ({over})"), kind),
        5 => (format!("lag({value}, 2, 7){nulls} OVER ({over})"), Type::Int),
        6 => (format!("lead(a.c{any}){nulls} OVER ({over})"), kind),
        7 => (format!("first_value(a.c{any}){nulls} OVER ({over}{frame})"), kind),
        8 => (format!("last_value(a.c{any}){nulls} OVER ({over}{frame})"), kind),
        9 => (format!("nth_value(a.c{any}, 2){nulls} OVER ({over}{frame})"), kind),
        10 => (format!("count(*) OVER ({over}{frame})"), Type::Int),
        11 => (format!("count(a.c{any}) OVER ({over}{frame})"), Type::Int),
        12 => (format!("min(coalesce(a.c{any}, {})) OVER ({over}{frame})", some(kind)), kind),
        13 => (format!("max(coalesce({value}, 0)) OVER ({over}{frame})"), Type::Int),
        14 => (format!("CAST(avg({value}) OVER ({over}{frame}) * 1000 AS BIGINT)"), Type::Int),
        15 if !decimals.is_empty() => {
            let c = random.pick(&decimals);
            (format!("CAST(sum(a.c{c}) OVER ({over}{frame}) AS DECIMAL(10,2))"), Type::Decimal)
        }
        _ => (format!("sum({value}) OVER ({over}{frame})"), Type::Int),
    }
}

/// LIMIT and OFFSET over a total order, at the root or in a subquery.
pub fn limit(random: &mut Random, input: Relation) -> Relation {
    let offset = if random.chance(30) { format!(" OFFSET {}", 1 + random.below(3)) } else { String::new() };
    let order = total_order(random, &input);
    let sql = format!(
        "SELECT {} FROM ({}) a ORDER BY {order} LIMIT {}{offset}",
        all_columns(&input),
        input.sql,
        1 + random.below(5)
    );
    let columns = input.columns;
    match random.below(4) {
        0 => Relation { sql: format!("SELECT * FROM ({sql}) l LIMIT {}", 1 + random.below(3)), columns },
        _ => Relation { sql: format!("SELECT * FROM ({sql}) l"), columns },
    }
}
