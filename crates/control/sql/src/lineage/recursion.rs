//! Recursive queries: they are run again round by round, and each row is traced to the rows of the round before it. Of
//! what is read on all these ways, those rows are behind the answer that the recursion needs to give it again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::{cast, concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, RecursiveQuery, TableScan};
use fleuve_types::Result;

use super::minimal::{Minimal, RUN};
use super::trace::{Step, Tracer, everything, same_in_scan};
use super::{Ground, Reads, Scanned, Wanted, bug};
use crate::Spec;
use crate::errors::of_datafusion;

/// Rounds and rows of a recursion that is run again. Of a larger one all that it reads is named.
const MAX_ROUNDS: usize = 10_000;
const MAX_ROWS: usize = 1_000_000;

/// Where a trace of one round ends.
pub(super) struct Within {
    /// How the recursive term calls the rows of the round before.
    own: TableReference,
    before: Vec<(TableScan, Wanted)>,
    /// Rows of streams and views.
    read: Vec<(TableScan, Wanted)>,
}

impl Within {
    fn of(query: &RecursiveQuery) -> Self {
        Self { own: TableReference::bare(query.name.as_str()), before: vec![], read: vec![] }
    }

    /// Takes note of rows of a scan.
    pub(super) fn reached(&mut self, step: &Step, scan: &TableScan) {
        let to = if scan.table_name == self.own { &mut self.before } else { &mut self.read };
        to.push((scan.clone(), step.wanted.clone()));
    }
}

/// Rows by their values.
struct Keys(RowConverter);

impl Keys {
    fn of(types: &[DataType]) -> Option<Self> {
        let fields: Vec<SortField> = types.iter().cloned().map(SortField::new).collect();
        RowConverter::supports_fields(&fields).then(|| RowConverter::new(fields).ok().map(Self))?
    }

    fn of_rows(&self, columns: &[ArrayRef]) -> Result<Vec<OwnedRow>> {
        let rows = self.0.convert_columns(columns).map_err(bug)?;
        Ok(rows.iter().map(|row| row.owned()).collect())
    }
}

/// The rows that a round adds.
struct Round {
    rows: RecordBatch,
    keys: Vec<OwnedRow>,
}

/// A recursive query over tables that may stand for those that it names.
struct Rounds<'q> {
    ground: &'q Ground,
    query: &'q RecursiveQuery,
    schema: SchemaRef,
    keys: &'q Keys,
}

/// Columns of these types.
fn columns(types: &[DataType]) -> SchemaRef {
    let fields = types.iter().enumerate().map(|(i, t)| Field::new(format!("c{i}"), t.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The rows in the columns of another schema.
fn retyped(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = rows.columns().iter().zip(schema.fields());
    let columns = columns.map(|(c, f)| cast(c, f.data_type())).collect::<std::result::Result<_, _>>();
    RecordBatch::try_new(schema.clone(), columns.map_err(bug)?).map_err(bug)
}

/// Rows as what a scan reads, in all its columns.
fn table(rows: &RecordBatch, like: &Schema) -> Result<Arc<dyn TableProvider>> {
    let fields = like.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let rows = retyped(rows, &schema)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![rows]]).map_err(bug)?))
}

/// A plan with other tables in the place of some.
fn reading(
    plan: &LogicalPlan,
    with: impl Fn(&TableScan) -> Option<Result<Arc<dyn TableProvider>>>,
) -> Result<LogicalPlan> {
    let replaced = plan.clone().transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(mut scan) => {
            let Some(table) = with(&scan) else { return Ok(Transformed::no(LogicalPlan::TableScan(scan))) };
            let table = table.map_err(|e| datafusion::error::DataFusionError::External(Box::new(e)))?;
            scan.source = provider_as_source(table);
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        }
        other => Ok(Transformed::no(other)),
    });
    replaced.map(|t| t.data).map_err(|e| of_datafusion(&e))
}

impl Rounds<'_> {
    /// The plan that gives the rows of a round.
    fn plan(&self, before: Option<&Round>) -> Result<LogicalPlan> {
        let Some(before) = before else { return Ok(self.query.static_term.as_ref().clone()) };
        let own = TableReference::bare(self.query.name.as_str());
        let of_before =
            |scan: &TableScan| (scan.table_name == own).then(|| table(&before.rows, scan.source.schema().as_ref()));
        reading(&self.query.recursive_term, of_before)
    }

    /// Runs at most so many rounds, as long as they add rows and `goes_on` says so. `None` if there are too many rows.
    async fn run(&self, most: usize, mut goes_on: impl FnMut(&Round) -> bool) -> Result<Option<Vec<Round>>> {
        let (mut rounds, mut seen, mut count) = (Vec::<Round>::new(), HashSet::new(), 0);
        while rounds.len() < most {
            let plan = self.plan(rounds.last())?;
            let frame = self.ground.context.execute_logical_plan(plan).await.map_err(|e| of_datafusion(&e))?;
            let batches = frame.collect().await.map_err(|e| of_datafusion(&e))?;
            let batches = batches.iter().map(|b| retyped(b, &self.schema)).collect::<Result<Vec<_>>>()?;
            let mut rows = concat_batches(&self.schema, &batches).map_err(bug)?;
            let mut keys = self.keys.of_rows(rows.columns())?;
            if self.query.is_distinct {
                let new: BooleanArray = keys.iter().map(|key| Some(seen.insert(key.clone()))).collect();
                rows = filter_record_batch(&rows, &new).map_err(bug)?;
                let mut new = new.values().iter();
                keys.retain(|_| new.next().unwrap_or(false));
            }
            count += rows.num_rows();
            if count > MAX_ROWS {
                return Ok(None);
            }
            if rows.num_rows() == 0 {
                break;
            }
            let round = Round { rows, keys };
            let more = goes_on(&round);
            rounds.push(round);
            if !more {
                break;
            }
        }
        Ok(Some(rounds))
    }

    /// Whether the rows come out of it, each as often as is said.
    async fn gives(&self, wanted: &HashMap<OwnedRow, usize>, most: usize, work: &mut usize) -> Result<bool> {
        let mut missing = wanted.clone();
        let found = |round: &Round| {
            *work += RUN + round.keys.len();
            for key in &round.keys {
                if let Some(times) = missing.get_mut(key) {
                    *times -= 1;
                    if *times == 0 {
                        missing.remove(key);
                    }
                }
            }
            !missing.is_empty()
        };
        self.run(most, found).await?;
        Ok(missing.is_empty())
    }
}

/// Rows of a stream or view that may be needed.
struct Pool {
    object: Scanned,
    scan: TableScan,
    /// In a fixed order: a stream's by their places.
    rows: RecordBatch,
    /// By row of the answer.
    of_tag: BTreeMap<u32, BTreeSet<usize>>,
    /// There are more.
    cut: bool,
}

/// Rows by what tells them apart, each with the rows of the answer that it may be behind.
type Told = BTreeMap<OwnedRow, (RecordBatch, BTreeSet<u32>)>;

fn tags_of(batch: &RecordBatch) -> Result<&UInt32Array> {
    batch.column(0).as_any().downcast_ref::<UInt32Array>().ok_or_else(|| bug("tags"))
}

impl Tracer {
    pub(super) async fn recursion(&mut self, step: &Step, query: &RecursiveQuery) -> Result<Vec<Step>> {
        let node = LogicalPlan::RecursiveQuery(query.clone());
        let types: Vec<DataType> = query.schema.fields().iter().map(|f| f.data_type().clone()).collect();
        let Some(keys) = Keys::of(&types).filter(|_| step.wanted.width() == types.len()) else {
            return everything(step, &node);
        };
        let wanted = Wanted { cut: step.wanted.cut, ..Wanted::of(step.wanted.batches.clone(), &types)? };
        let step = &step.of(&step.plan, wanted);
        let ground = self.ground.clone();
        let whole = Rounds { ground: &ground, query, schema: columns(&types), keys: &keys };
        let Some(rounds) = whole.run(MAX_ROUNDS, |_| true).await?.filter(|r| r.len() < MAX_ROUNDS) else {
            return everything(step, &node);
        };
        let read = self.read_in_rounds(step, &whole, &rounds).await?;
        let pools = self.pools(step, read).await?;
        // Of each row of the answer: the rows of the recursion behind it, and how often they are there.
        let mut times: HashMap<OwnedRow, usize> = HashMap::new();
        rounds.iter().flat_map(|r| &r.keys).for_each(|key| *times.entry(key.clone()).or_default() += 1);
        let (mut wanted, mut unknown) = (BTreeMap::<u32, HashMap<OwnedRow, usize>>::new(), BTreeSet::new());
        for batch in step.wanted.batches() {
            for (tag, key) in tags_of(batch)?.values().iter().zip(keys.of_rows(&batch.columns()[1..])?) {
                match times.get(&key) {
                    Some(times) => {
                        wanted.entry(*tag).or_default().insert(key, *times);
                    }
                    // Computed again it is another one: the last bits of a floating-point number.
                    None => {
                        unknown.insert(*tag);
                    }
                }
            }
        }
        let mut kept = vec![BTreeMap::<u32, BTreeSet<usize>>::new(); pools.len()];
        wanted.retain(|tag, _| !unknown.contains(tag));
        for (tag, wanted) in &wanted {
            match self.needed(&whole, &pools, *tag, wanted, rounds.len()).await? {
                Some(needed) => {
                    for (pool, row) in needed {
                        kept[pool].entry(*tag).or_default().insert(row);
                    }
                }
                None => {
                    unknown.insert(*tag);
                }
            }
        }
        let mut next = vec![];
        for (pool, kept) in pools.iter().zip(&kept) {
            let (plan, rows) = self.rows_of_pool(pool, kept)?;
            next.push(step.of(&plan, rows).via(named(query)));
        }
        let rest = step.wanted.filter(|batch, row| tags_of(batch).is_ok_and(|t| unknown.contains(&t.value(row))))?;
        if rest.rows() > 0 {
            next.extend(everything(&step.of(&step.plan, rest), &node)?);
        }
        Ok(next)
    }

    /// Traces the wanted rows through the rounds, to what these read.
    async fn read_in_rounds(
        &mut self,
        step: &Step,
        whole: &Rounds<'_>,
        rounds: &[Round],
    ) -> Result<Vec<(TableScan, Wanted)>> {
        let mut inner = self.within(Within::of(whole.query));
        let mut before: Vec<(TableScan, Wanted)> = vec![];
        for (n, round) in rounds.iter().enumerate().rev() {
            let own: HashSet<&OwnedRow> = round.keys.iter().collect();
            let mut wanted = Wanted::of(vec![], &step.wanted.types())?;
            wanted.cut = step.wanted.cut;
            for batch in step.wanted.batches() {
                let keys = whole.keys.of_rows(&batch.columns()[1..])?;
                let here: BooleanArray = keys.iter().map(|key| Some(own.contains(key))).collect();
                wanted.batches.push(filter_record_batch(batch, &here).map_err(bug)?);
            }
            for (scan, rows) in std::mem::take(&mut before) {
                // What the next round reads of this one, in all columns.
                let all = table(&round.rows, scan.source.schema().as_ref())?;
                let all = LogicalPlanBuilder::scan("__round", provider_as_source(all), None)
                    .and_then(LogicalPlanBuilder::build)
                    .map_err(|e| of_datafusion(&e))?;
                let rows = self.behind(&all, &same_in_scan(&scan, &all, &rows), &rows).await?;
                wanted = wanted.with(rows)?;
            }
            if wanted.rows() == 0 {
                continue;
            }
            let plan = Arc::new(whole.plan(n.checked_sub(1).map(|n| &rounds[n]))?);
            Box::pin(inner.trace(Step { plan, wanted, via: vec![], reads: step.reads })).await?;
            if let Some(within) = &mut inner.within {
                before = std::mem::take(&mut within.before);
            }
        }
        self.work_left = inner.work_left;
        Ok(inner.within.map(|within| within.read).unwrap_or_default())
    }

    /// What was read, by what it was read from.
    async fn pools(&self, step: &Step, read: Vec<(TableScan, Wanted)>) -> Result<Vec<Pool>> {
        let mut pools: Vec<(Pool, Told)> = vec![];
        for (scan, wanted) in read {
            let Some(object) = self.ground.object(&scan) else { continue };
            let whole = self.whole(&object, step.reads)?;
            let rows = self.behind(&whole, &same_in_scan(&scan, &whole, &wanted), &wanted).await?;
            let at = match pools.iter().position(|(p, _)| p.scan.table_name == scan.table_name) {
                Some(at) => at,
                None => {
                    let none = RecordBatch::new_empty(columns(&rows.types()));
                    pools.push((
                        Pool { object, scan, rows: none, of_tag: BTreeMap::new(), cut: false },
                        BTreeMap::new(),
                    ));
                    pools.len() - 1
                }
            };
            let (pool, found) = &mut pools[at];
            pool.cut |= rows.cut;
            let told_by = told_by(pool, &whole);
            let types = rows.types();
            let types: Vec<DataType> = told_by.iter().map(|c| types[*c].clone()).collect();
            let keys = Keys::of(&types).ok_or_else(|| bug("rows that cannot be told apart"))?;
            for batch in rows.batches() {
                let own: Vec<ArrayRef> = told_by.iter().map(|c| batch.column(c + 1).clone()).collect();
                for (n, (key, tag)) in keys.of_rows(&own)?.into_iter().zip(tags_of(batch)?.values()).enumerate() {
                    let row = found.entry(key).or_insert_with(|| (batch.slice(n, 1), BTreeSet::new()));
                    row.1.insert(*tag);
                }
            }
        }
        let done = |(mut pool, found): (Pool, Told)| {
            let mut rows = vec![];
            for (n, (row, tags)) in found.into_values().enumerate() {
                let places: Vec<usize> = (1..row.num_columns()).collect();
                rows.push(retyped(&row.project(&places).map_err(bug)?, &pool.rows.schema())?);
                tags.into_iter().for_each(|tag| {
                    pool.of_tag.entry(tag).or_default().insert(n);
                });
            }
            pool.rows = concat_batches(&pool.rows.schema(), &rows).map_err(bug)?;
            Ok(pool)
        };
        pools.into_iter().map(done).collect()
    }

    /// Those of the rows of the pools that are needed for rows of the recursion, as (pool, row); `None` if all of them
    /// are not enough.
    async fn needed(
        &mut self,
        whole: &Rounds<'_>,
        pools: &[Pool],
        tag: u32,
        wanted: &HashMap<OwnedRow, usize>,
        most: usize,
    ) -> Result<Option<Vec<(usize, usize)>>> {
        let of_pool = |(n, pool): (usize, &Pool)| -> Vec<(usize, usize)> {
            pool.of_tag.get(&tag).into_iter().flatten().map(|row| (n, *row)).collect()
        };
        // Late ones are tried first, so that those that came first stay.
        let candidates: Vec<(usize, usize)> = pools.iter().enumerate().flat_map(of_pool).rev().collect();
        if self.work_left == 0 || pools.iter().any(|p| p.cut) {
            return Ok(Some(candidates));
        }
        let all: Vec<usize> = (0..candidates.len()).collect();
        if !self.tried(whole, pools, &candidates, &all, (wanted, most)).await? {
            return Ok(None);
        }
        let mut minimal = Minimal::of(all);
        while let Some(fewer) = minimal.fewer().filter(|_| self.work_left > 0) {
            minimal.told(self.tried(whole, pools, &candidates, &fewer, (wanted, most)).await?);
        }
        Ok(Some(minimal.kept().into_iter().map(|n| candidates[n]).collect()))
    }

    /// Whether some of the candidates are enough.
    async fn tried(
        &mut self,
        whole: &Rounds<'_>,
        pools: &[Pool],
        candidates: &[(usize, usize)],
        some: &[usize],
        (wanted, most): (&HashMap<OwnedRow, usize>, usize),
    ) -> Result<bool> {
        let ground = self.ground.clone();
        let of_some = |scan: &TableScan| {
            let schema = scan.source.schema();
            let at = pools.iter().position(|p| p.scan.table_name == scan.table_name);
            let Some(at) = at else {
                let none = RecordBatch::new_empty(schema.clone());
                return ground.object(scan).map(|_| table(&none, &schema));
            };
            let rows: UInt64Array =
                some.iter().map(|n| candidates[*n]).filter(|c| c.0 == at).map(|c| c.1 as u64).collect();
            Some(take_record_batch(&pools[at].rows, &rows).map_err(bug).and_then(|rows| table(&rows, &schema)))
        };
        let query = RecursiveQuery {
            static_term: Arc::new(reading(&whole.query.static_term, of_some)?),
            recursive_term: Arc::new(reading(&whole.query.recursive_term, of_some)?),
            ..whole.query.clone()
        };
        let fewer = Rounds { ground: &ground, query: &query, schema: whole.schema.clone(), keys: whole.keys };
        let mut work = RUN + some.len();
        // What fails over fewer rows is no answer.
        let gives = fewer.gives(wanted, most, &mut work).await.unwrap_or(false);
        self.work_left = self.work_left.saturating_sub(work);
        Ok(gives)
    }

    /// Rows of a pool as rows of a scan: a stream's by their places.
    fn rows_of_pool(&self, pool: &Pool, kept: &BTreeMap<u32, BTreeSet<usize>>) -> Result<(Arc<LogicalPlan>, Wanted)> {
        let table = self.ground.table(&pool.object, Reads::All)?;
        let told_by = told_by(pool, &self.whole(&pool.object, Reads::All)?);
        let scan =
            LogicalPlanBuilder::scan(pool.scan.table_name.clone(), provider_as_source(table), Some(told_by.clone()));
        let plan = scan.and_then(LogicalPlanBuilder::build).map_err(|e| of_datafusion(&e))?;
        let rows = pool.rows.project(&told_by).map_err(bug)?;
        let pairs = kept.iter().flat_map(|(tag, rows)| rows.iter().map(move |row| (*tag, *row as u64)));
        let (tags, places): (Vec<u32>, Vec<u64>) = pairs.unzip();
        let rows = take_record_batch(&rows, &UInt64Array::from(places)).map_err(bug)?;
        let types: Vec<DataType> = rows.schema().fields().iter().map(|f| f.data_type().clone()).collect();
        let mut all: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(tags))];
        all.extend(rows.columns().iter().cloned());
        let tagged: Vec<DataType> = std::iter::once(DataType::UInt32).chain(types.iter().cloned()).collect();
        let batch = RecordBatch::try_new(columns(&tagged), all).map_err(bug)?;
        Ok((Arc::new(plan), Wanted { cut: pool.cut, ..Wanted::of(vec![batch], &types)? }))
    }
}

/// The columns that tell rows of a pool apart.
fn told_by(pool: &Pool, whole: &LogicalPlan) -> Vec<usize> {
    let columns = whole.schema().columns();
    let place = |name: &str| columns.iter().position(|c| c.name == name);
    match (&pool.object.bound.spec, place("_partition"), place("_offset")) {
        (Spec::Stream(_), Some(partition), Some(offset)) => vec![partition, offset],
        _ => (0..columns.len()).collect(),
    }
}

/// What the way says of it.
pub(super) fn named(query: &RecursiveQuery) -> String {
    if query.name.starts_with("__") { "WITH RECURSIVE".into() } else { format!("WITH RECURSIVE {}", query.name) }
}
