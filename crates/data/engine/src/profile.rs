//! What each operator of a circuit has done and holds. Written by the thread that steps the circuit, read by anyone at any time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The figures of a circuit's operators, in the order of the circuit; of a view that shows an answer, that comes last.
#[derive(Debug, Default)]
pub struct Profile(pub(crate) Vec<Counters>);

/// One operator's figures, as they are counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) description: String,
    pub(crate) inputs: Vec<usize>,
    pub(crate) rows_in: AtomicU64,
    pub(crate) rows_out: AtomicU64,
    pub(crate) busy_ns: AtomicU64,
    pub(crate) state_rows: AtomicU64,
    pub(crate) state_bytes: AtomicU64,
    pub(crate) disk_bytes: AtomicU64,
}

/// One operator's figures at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorStatus {
    /// Its place in the circuit.
    pub node: usize,
    /// The places of the operators that it reads.
    pub inputs: Vec<usize>,
    /// What it does, as EXPLAIN says it: `Aggregate: by [k], [count(*)]`.
    pub description: String,
    /// Changed rows that it took in since the start.
    pub rows_in: u64,
    /// Changed rows that it put out since the start.
    pub rows_out: u64,
    /// Time spent in it since the start.
    pub busy: Duration,
    /// Rows or groups that it holds.
    pub state_rows: u64,
    /// Memory that it holds, in bytes.
    pub state_bytes: u64,
    /// What of its state lies in files that are read as needed, in bytes.
    pub disk_bytes: u64,
}

impl OperatorStatus {
    /// The kind of operator: what stands before the colon of its description.
    pub fn operator(&self) -> &str {
        self.description.split(':').next().unwrap_or_default()
    }

    /// For EXPLAIN: which it is, and the rows.
    pub(crate) fn done(&self) -> String {
        format!("node {}, rows in {}, out {}", self.node, self.rows_in, self.rows_out)
    }

    /// For EXPLAIN: its time, and what part of that of `all` it is.
    pub(crate) fn share_of(&self, all: &[OperatorStatus]) -> String {
        let all: f64 = all.iter().map(|o| o.busy.as_secs_f64()).sum();
        let own = self.busy.as_secs_f64();
        format!(", busy {:.1} ms ({:.0} %)", own * 1e3, own / all.max(1e-9) * 100.0)
    }
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Exchanges what two operators have done.
    pub(crate) fn swap(a: &Self, b: &Self) {
        for (a, b) in [(&a.rows_in, &b.rows_in), (&a.rows_out, &b.rows_out), (&a.busy_ns, &b.busy_ns)] {
            b.store(a.swap(b.load(Ordering::Relaxed), Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(crate) fn spent(&self, time: Duration) {
        self.busy_ns.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// It took in and put out so many rows.
    pub(crate) fn stepped(&self, rows_in: usize, rows_out: usize, time: Duration) {
        Self::add(&self.rows_in, rows_in);
        Self::add(&self.rows_out, rows_out);
        self.spent(time);
    }

    pub(crate) fn holds(&self, rows: usize, bytes: usize, disk_bytes: u64) {
        self.state_rows.store(rows as u64, Ordering::Relaxed);
        self.state_bytes.store(bytes as u64, Ordering::Relaxed);
        self.disk_bytes.store(disk_bytes, Ordering::Relaxed);
    }
}

impl Profile {
    /// So much time was spent in an operator.
    pub(crate) fn spent(&self, node: usize, time: Duration) {
        if let Some(counters) = self.0.get(node) {
            counters.spent(time);
        }
    }

    /// The memory that all of them hold, as it was last measured, and what of their state lies on disk.
    pub(crate) fn state_bytes(&self) -> (u64, u64) {
        let of = |c: &Counters| (c.state_bytes.load(Ordering::Relaxed), c.disk_bytes.load(Ordering::Relaxed));
        self.0.iter().map(of).fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1))
    }

    /// The figures now. Rows and time are exact; state is as it was last measured.
    pub fn operators(&self) -> Vec<OperatorStatus> {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let status = |(node, c): (usize, &Counters)| OperatorStatus {
            node,
            inputs: c.inputs.clone(),
            description: c.description.clone(),
            rows_in: get(&c.rows_in),
            rows_out: get(&c.rows_out),
            busy: Duration::from_nanos(get(&c.busy_ns)),
            state_rows: get(&c.state_rows),
            state_bytes: get(&c.state_bytes),
            disk_bytes: get(&c.disk_bytes),
        };
        self.0.iter().enumerate().map(status).collect()
    }
}
