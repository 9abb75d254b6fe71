//! The functions that `HOP` and `CUMULATE` are planned as, by their definition; and queries over them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, Field, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::prelude::SessionContext;

use super::query::{Relation, Type, columns_of, int, some_relation};
use super::random::Random;

pub fn register(context: &SessionContext) {
    for (name, grows) in [("fleuve_hop", false), ("fleuve_cumulate", true)] {
        let signature = Signature::any(3, Volatility::Immutable);
        context.register_udf(ScalarUDF::new_from_impl(Windows { name, grows, signature }));
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Windows {
    name: &'static str,
    grows: bool,
    signature: Signature,
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

impl ScalarUDFImpl for Windows {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(Arc::new(Field::new_list_field(time(), true))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let length = |at: usize| match &args.args[at] {
            ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(v))) => v.nanoseconds / 1_000,
            other => panic!("a length is {other:?}"),
        };
        let (step, size) = (length(1), length(2));
        let times = args.args[0].to_array(args.number_rows)?;
        let mut lists = ListBuilder::new(TimestampMicrosecondBuilder::new());
        for t in times.as_primitive::<TimestampMicrosecondType>() {
            let Some(t) = t else {
                lists.append(false);
                continue;
            };
            // Any start or end of a window is a multiple of the step, and this far away at most.
            for at in (t / step - size / step - 2)..=(t / step + size / step + 2) {
                let at = at * step;
                let is_in = match self.grows {
                    true => t < at && (at - 1) / size == t / size,
                    false => at <= t && t < at + size,
                };
                if is_in {
                    lists.values().append_value(at);
                }
            }
            lists.append(true);
        }
        Ok(ColumnarValue::Array(Arc::new(lists.finish()) as ArrayRef))
    }
}

pub fn generate(random: &mut Random) -> String {
    let mut input = some_relation(random);
    while columns_of(&input, Type::Time).is_empty() {
        input = some_relation(random);
    }
    aggregate(random, &input).sql
}

/// An aggregate by window and up to two keys.
fn aggregate(random: &mut Random, input: &Relation) -> Relation {
    let times = columns_of(input, Type::Time);
    let ts = times[0];
    let interval = |seconds: usize| format!("INTERVAL '{seconds} seconds'");
    let lists = match random.below(4) {
        0 => format!("fleuve_hop(a.c{ts}, {}, {})", interval(20), interval(60)),
        1 => format!("fleuve_hop(a.c{ts}, {}, {})", interval(40), interval(60)),
        2 => format!("fleuve_hop(a.c{ts}, {}, {})", interval(50), interval(20)),
        _ => format!("fleuve_cumulate(a.c{ts}, {}, {})", interval(20), interval(60)),
    };
    let all: Vec<String> = (0..input.columns.len()).map(|i| format!("a.c{i} AS c{i}")).collect();
    let rows = format!("SELECT {}, unnest({lists}) AS w FROM ({}) a", all.join(", "), input.sql);
    let mut groups = vec![];
    if random.chance(85) {
        groups.push((*random.pick(&["a.w", "a.w", "a.w + INTERVAL '60 seconds'"])).to_string());
    }
    let mut columns = vec![Type::Time; groups.len()];
    for _ in 0..random.below(3) {
        let at = random.below(input.columns.len());
        if !groups.contains(&format!("a.c{at}")) {
            groups.push(format!("a.c{at}"));
            columns.push(input.columns[at]);
        }
    }
    let mut exprs = groups.clone();
    for _ in 0..1 + random.below(3) {
        let (call, kind) = call(random, input);
        let filter =
            if random.chance(25) { format!(" FILTER (WHERE {} > 1)", int(random, input, "a")) } else { String::new() };
        exprs.push(call.replace("FILTER", &filter));
        columns.push(kind);
    }
    let list: Vec<String> = exprs.iter().enumerate().map(|(n, e)| format!("{e} AS c{n}")).collect();
    let by = if groups.is_empty() { String::new() } else { format!(" GROUP BY {}", groups.join(", ")) };
    let own = if random.chance(20) { format!(" WHERE {} < 6", int(random, input, "a")) } else { String::new() };
    Relation { sql: format!("SELECT {} FROM ({rows}) a{own}{by}", list.join(", ")), columns }
}

fn call(random: &mut Random, input: &Relation) -> (String, Type) {
    let (value, any) = (int(random, input, "a"), random.below(input.columns.len()));
    let decimals = columns_of(input, Type::Decimal);
    match random.below(9) {
        0 | 1 => ("count(*)FILTER".to_string(), Type::Int),
        2 => (format!("count(a.c{any})FILTER"), Type::Int),
        3 | 4 => (format!("sum({value})FILTER"), Type::Int),
        5 => (format!("CAST(avg({value})FILTER * 1000 AS BIGINT)"), Type::Int),
        6 => (format!("min(a.c{any})FILTER"), input.columns[any]),
        7 if !decimals.is_empty() => {
            let c = random.pick(&decimals);
            let call = random.pick::<&str>(&["sum", "avg"]);
            (format!("CAST({call}(a.c{c})FILTER AS DECIMAL(10,2))"), Type::Decimal)
        }
        _ => (format!("max({value})FILTER"), Type::Int),
    }
}

/// Of 100,000 rows in few panes, few come to the windows, and their answers are those of all.
#[test]
fn rows_are_gathered_before_they_are_put_into_windows() {
    use arrow::array::{Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
    use fleuve_types::Delta;
    let sql = "SELECT k, w, count(*) AS n, sum(v) AS total FROM \
               (SELECT k, v, unnest(fleuve_hop(ts, INTERVAL '2 seconds', INTERVAL '10 seconds')) AS w FROM t) h GROUP BY k, w";
    let mut circuit = super::kinds::circuit(sql, false);
    let columns: [(&str, ArrayRef); 3] = [
        ("k", Arc::new((0..100_000).map(|i| Some(i % 10)).collect::<Int32Array>())),
        ("v", Arc::new((0..100_000).map(Some).collect::<Int64Array>())),
        ("ts", Arc::new((0..100_000).map(|i| Some(i * 200)).collect::<TimestampMicrosecondArray>())),
    ];
    let all = RecordBatch::try_from_iter(columns).unwrap();
    // 20 seconds: 10 panes, in 14 windows.
    let answer = circuit.step(&[Delta::insert(all.clone())]).unwrap();
    assert_eq!(answer.len(), 10 * 14);
    let counts: i64 = answer.batch.column(2).as_primitive::<arrow::datatypes::Int64Type>().values().iter().sum();
    assert_eq!(counts, 5 * 100_000);
    let profile = circuit.profile().operators();
    let panes = profile.iter().find(|o| o.operator() == "Panes").unwrap();
    assert_eq!((panes.rows_in, panes.rows_out), (100_000, 10 * 10 * 5));
    // They go again, and nothing is left.
    let gone = circuit.step(&[Delta::weighted(all, vec![-1; 100_000]).unwrap()]).unwrap();
    assert_eq!((gone.len(), gone.weight(0)), (10 * 14, -1));
    assert!(circuit.explain(true).iter().any(|l| l.contains("Aggregate") && l.contains("state 0 rows")));
}
