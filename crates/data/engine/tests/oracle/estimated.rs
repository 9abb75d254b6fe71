//! Aggregates that estimate, sketches and what merges them, and those of two variables.

use datafusion::prelude::SessionContext;

use super::query::{Relation, Type, columns_of, int, some_relation};
use super::random::Random;

pub fn register(context: &SessionContext) {
    fleuve_sketch::scalars().iter().for_each(|f| context.register_udf(f.as_ref().clone()));
    fleuve_sketch::aggregates().iter().for_each(|f| context.register_udaf(f.as_ref().clone()));
}

/// Groups of a relation, or all of it; or groups of groups, whose sketches are merged.
pub fn generate(random: &mut Random) -> String {
    let input = some_relation(random);
    let key = random.below(input.columns.len());
    let calls = 1 + random.below(3);
    if random.chance(30) {
        return merged(random, &input, key, calls);
    }
    let calls: Vec<String> = (0..calls)
        .map(|n| {
            let filter = if random.chance(25) {
                format!(" FILTER (WHERE {} > 0)", int(random, &input, "a"))
            } else {
                String::new()
            };
            format!("{} AS c{}", call(random, &input).replace("{}", &filter), n + 1)
        })
        .collect();
    let calls = calls.join(", ");
    match random.below(4) {
        0 => format!("SELECT {calls} FROM ({}) a", input.sql),
        1 => format!("SELECT a.c{key} AS c0, {calls} FROM ({}) a GROUP BY a.c{key} HAVING count(*) > 1", input.sql),
        _ => format!("SELECT a.c{key} AS c0, {calls} FROM ({}) a GROUP BY a.c{key}", input.sql),
    }
}

/// A column of any type but a truth value.
fn some_column(random: &mut Random, input: &Relation) -> String {
    let columns: Vec<usize> = (0..input.columns.len()).filter(|c| input.columns[*c] != Type::Bool).collect();
    if columns.is_empty() { int(random, input, "a") } else { format!("a.c{}", random.pick(&columns)) }
}

fn number(random: &mut Random, input: &Relation) -> String {
    let decimals = columns_of(input, Type::Decimal);
    if !decimals.is_empty() && random.chance(40) {
        return format!("CAST(a.c{} AS DOUBLE)", random.pick(&decimals));
    }
    format!("CAST({} AS DOUBLE)", int(random, input, "a"))
}

/// A call; a filter can stand at `{}`. Floating-point numbers that are computed on different ways are rounded.
fn call(random: &mut Random, input: &Relation) -> String {
    let (x, any) = (number(random, input), some_column(random, input));
    let percent = random.below(11) * 10;
    match random.below(9) {
        0 => format!("hll_count(hll_sketch({any}){{}})"),
        1 => format!("quantile(quantile_sketch({x}){{}}, {percent} / 100.0)"),
        2 => format!("topk(topk_sketch({any}, 20){{}})"),
        3 => format!("approx_distinct({}){{}}", int(random, input, "a")),
        4 => format!("mode() WITHIN GROUP (ORDER BY {any}){{}}"),
        5 => format!("approx_median({x}){{}}"),
        6 => format!("approx_percentile_cont({percent} / 100.0) WITHIN GROUP (ORDER BY {x}){{}}"),
        _ => {
            let names = ["corr", "covar_pop", "covar_samp", "regr_slope", "regr_intercept", "regr_r2", "regr_avgx"];
            // What is added keeps results from lying half way between two numbers.
            let y = number(random, input);
            format!("round(1000000 * {}({x}, {y}){{}} + 0.31416)", random.pick(&names))
        }
    }
}

/// Sketches of groups that are merged into coarser ones; their bytes are those of a sketch of all rows.
fn merged(random: &mut Random, input: &Relation, key: usize, calls: usize) -> String {
    let finer = random.below(input.columns.len());
    let kinds = [
        ("hll_sketch({})", "hll_merge({})"),
        ("quantile_sketch({})", "quantile_merge({})"),
        ("topk_sketch({}, 20)", "topk(topk_merge({}))"),
    ];
    let (mut inner, mut outer) = (vec![], vec![]);
    for n in 0..calls {
        let kind = random.below(kinds.len());
        let of = if kind == 1 { number(random, input) } else { some_column(random, input) };
        inner.push(format!("{} AS s{n}", kinds[kind].0.replace("{}", &of)));
        outer.push(format!("{} AS c{}", kinds[kind].1.replace("{}", &format!("p.s{n}")), n + 1));
    }
    format!(
        "SELECT p.k AS c0, {} FROM (SELECT a.c{key} AS k, a.c{finer} AS f, {} FROM ({}) a GROUP BY a.c{key}, a.c{finer}) p GROUP BY p.k",
        outer.join(", "),
        inner.join(", "),
        input.sql
    )
}
