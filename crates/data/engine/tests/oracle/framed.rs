//! Aggregates over frames of all kinds, in orders that often begin with what they are of.

use crate::query::{self, Relation, Type, columns_of};
use crate::random::Random;
use crate::ranking;

const BOUNDS: [&str; 7] = [
    "UNBOUNDED PRECEDING",
    "2 PRECEDING",
    "1 PRECEDING",
    "CURRENT ROW",
    "1 FOLLOWING",
    "2 FOLLOWING",
    "UNBOUNDED FOLLOWING",
];

pub fn generate(random: &mut Random) -> String {
    relation(random).sql
}

/// The columns of another relation, and one or two calls over the same rows. Frames that move past rows are asked for of those aggregates alone that
/// DataFusion (54.1) slides rightly.
pub fn relation(random: &mut Random) -> Relation {
    let input = query::some_relation(random);
    let mut exprs: Vec<String> = (0..input.columns.len()).map(|n| format!("a.c{n} AS c{n}")).collect();
    let mut columns = input.columns.clone();
    let partition = ranking::partition(random, &input);
    let first = random.below(input.columns.len());
    // One order for all: over two, equal rows would be told apart by the second as they come out of the first.
    let order = format!("a.c{first}{}, {}", ranking::direction(random), ranking::total_order(random, &input));
    for _ in 0..1 + random.below(2) {
        let at = if random.chance(50) { first } else { random.below(input.columns.len()) };
        let of = format!("a.c{at}");
        let (function, gives) = function(random, &input, at);
        let moves = !["max", "min", "bit_or", "bool_and"].iter().any(|f| function.starts_with(f));
        let frame = match random.below(3) {
            0 => String::new(),
            1 => format!(" ROWS BETWEEN {} AND CURRENT ROW", BOUNDS[0]),
            _ => {
                let start = if moves { random.below(6) } else { 0 };
                let end = start.max(1) + random.below(7 - start.max(1));
                format!(" {} BETWEEN {} AND {}", random.pick(&["ROWS", "ROWS", "GROUPS"]), BOUNDS[start], BOUNDS[end])
            }
        };
        // Without a frame of rows, peers have the same value, whatever tells them apart.
        let order = if !frame.contains("ROWS") && random.chance(50) {
            format!("{of}{}", ranking::direction(random))
        } else {
            order.clone()
        };
        let filter = if random.chance(15) {
            format!(" FILTER (WHERE {})", query::condition(random, &input, "a"))
        } else {
            String::new()
        };
        let call = format!("{filter} OVER ({partition}ORDER BY {order}{frame})");
        exprs.push(format!("{} AS c{}", function.replacen("CALL", &call, 1), columns.len()));
        columns.push(gives);
    }
    Relation { sql: format!("SELECT {} FROM ({}) a", exprs.join(", "), input.sql), columns }
}

/// With `CALL` where FILTER and OVER go. None tells peers apart.
fn function(random: &mut Random, input: &Relation, at: usize) -> (String, Type) {
    let of = format!("a.c{at}");
    let int = query::int(random, input, "a");
    let decimals = columns_of(input, Type::Decimal);
    match random.below(11) {
        0 => ("count(*)CALL".to_owned(), Type::Int),
        1 => (format!("count({of})CALL"), Type::Int),
        2 => (format!("max({of})CALL"), input.columns[at]),
        3 => (format!("min({of})CALL"), input.columns[at]),
        4 => (format!("sum({int})CALL"), Type::Int),
        5 => (format!("bit_or({int})CALL"), Type::Int),
        6 => (format!("bool_and({int} > 1)CALL"), Type::Bool),
        7 if !decimals.is_empty() => {
            (format!("CAST(round(avg(a.c{})CALL * 1000 + 0.123) AS BIGINT)", random.pick(&decimals)), Type::Int)
        }
        // Exact, as they are added to and taken from.
        8 => (format!("CAST(sum(CAST({int} AS DOUBLE) / 4)CALL * 4 AS BIGINT)"), Type::Int),
        _ => (format!("CAST(round(avg({int})CALL * 1000 + 0.123) AS BIGINT)"), Type::Int),
    }
}
