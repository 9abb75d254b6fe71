//! Feeds a file of events to a circuit, batch by batch, and keeps the answer up to date after each.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use dbsp::circuit::CircuitConfig;
use dbsp::typed_batch::{IndexedZSetReader, SpineSnapshot};
use dbsp::utils::Tup2;
use dbsp::{DBData, OrdZSet, OutputHandle, RootCircuit, Runtime, Stream, ZWeight};

use crate::cells::Cells;
use crate::events::{Auction, Bid, Event, Person};

/// What goes wrong, for the one who started this.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A table, or an answer, as a stream of changes.
pub type Table<T> = Stream<RootCircuit, OrdZSet<T>>;

/// Batches that are parsed before the circuit takes them.
const AHEAD: usize = 2;

/// How to run a query.
pub struct Run {
    pub events: PathBuf,
    pub answer: Option<PathBuf>,
    pub workers: usize,
    pub batch: usize,
}

/// What a run took, from the built circuit to the complete answer.
pub struct Measured {
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub peak_mb: f64,
    pub rows: u64,
}

/// Some events, as rows of the three tables.
struct Batch<P, A, B> {
    persons: Vec<Tup2<P, ZWeight>>,
    auctions: Vec<Tup2<A, ZWeight>>,
    bids: Vec<Tup2<B, ZWeight>>,
}

impl Run {
    /// A query of bids alone.
    pub fn bids<B, R>(
        &self,
        bid: impl Fn(&Bid) -> B + Copy + Send + 'static,
        circuit: impl Fn(&Table<B>) -> Table<R> + Clone + Send + 'static,
    ) -> Result<Measured, Error>
    where
        B: DBData,
        R: DBData + Cells,
    {
        self.tables(Vec::<()>::new(), |_| None, |_| None::<()>, move |b| Some(bid(b)), move |_, _, bids| circuit(bids))
    }

    /// A query of bids and a table that does not change.
    pub fn bids_and_side<S, B, R>(
        &self,
        side: Vec<S>,
        bid: impl Fn(&Bid) -> B + Copy + Send + 'static,
        circuit: impl Fn(&Table<S>, &Table<B>) -> Table<R> + Clone + Send + 'static,
    ) -> Result<Measured, Error>
    where
        S: DBData,
        B: DBData,
        R: DBData + Cells,
    {
        self.tables(side, |_| None, |_| None::<()>, move |b| Some(bid(b)), move |side, _, bids| circuit(side, bids))
    }

    /// A query of auctions and bids.
    pub fn auctions_and_bids<A, B, R>(
        &self,
        auction: impl Fn(&Auction) -> A + Copy + Send + 'static,
        bid: impl Fn(&Bid) -> B + Copy + Send + 'static,
        circuit: impl Fn(&Table<A>, &Table<B>) -> Table<R> + Clone + Send + 'static,
    ) -> Result<Measured, Error>
    where
        A: DBData,
        B: DBData,
        R: DBData + Cells,
    {
        self.tables(
            Vec::<()>::new(),
            |_| None,
            move |a| Some(auction(a)),
            move |b| Some(bid(b)),
            move |_, auctions, bids| circuit(auctions, bids),
        )
    }

    /// A query of persons and auctions.
    pub fn persons_and_auctions<P, A, R>(
        &self,
        person: impl Fn(&Person) -> P + Copy + Send + 'static,
        auction: impl Fn(&Auction) -> A + Copy + Send + 'static,
        circuit: impl Fn(&Table<P>, &Table<A>) -> Table<R> + Clone + Send + 'static,
    ) -> Result<Measured, Error>
    where
        P: DBData,
        A: DBData,
        R: DBData + Cells,
    {
        self.tables(
            Vec::new(),
            move |p| Some(person(p)),
            move |a| Some(auction(a)),
            |_| None::<()>,
            move |persons, auctions, _| circuit(persons, auctions),
        )
    }

    /// Makes the circuit, with rows that the first table has already, feeds it the file, and measures that.
    fn tables<P, A, B, R>(
        &self,
        already: Vec<P>,
        person: impl Fn(&Person) -> Option<P> + Copy + Send + 'static,
        auction: impl Fn(&Auction) -> Option<A> + Copy + Send + 'static,
        bid: impl Fn(&Bid) -> Option<B> + Copy + Send + 'static,
        circuit: impl Fn(&Table<P>, &Table<A>, &Table<B>) -> Table<R> + Clone + Send + 'static,
    ) -> Result<Measured, Error>
    where
        P: DBData,
        A: DBData,
        B: DBData,
        R: DBData + Cells,
    {
        let config = CircuitConfig::with_workers(self.workers);
        let (mut engine, (persons, auctions, bids, answer)) = Runtime::init_circuit(config, move |root| {
            let (person_rows, persons) = root.add_input_zset::<P>();
            let (auction_rows, auctions) = root.add_input_zset::<A>();
            let (bid_rows, bids) = root.add_input_zset::<B>();
            // All of the answer, as a materialized view holds it.
            let answer = circuit(&person_rows, &auction_rows, &bid_rows)
                .accumulate_integrate_trace()
                .apply(|rows| rows.ro_snapshot())
                .output();
            Ok((persons, auctions, bids, answer))
        })?;
        if !already.is_empty() {
            persons.append(&mut already.into_iter().map(|row| Tup2(row, 1)).collect());
            engine.transaction()?;
        }
        let (begun, cpu) = (Instant::now(), cpu_seconds()?);
        for batch in self.parsed(person, auction, bid)? {
            let mut batch = batch?;
            persons.append(&mut batch.persons);
            auctions.append(&mut batch.auctions);
            bids.append(&mut batch.bids);
            engine.transaction()?;
        }
        let mut measured = Measured {
            seconds: begun.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds()? - cpu,
            peak_mb: peak_mb()?,
            rows: 0,
        };
        measured.rows = self.write(&answer)?;
        engine.kill().map_err(|_| "a worker of the circuit ended in a panic")?;
        Ok(measured)
    }

    /// The file's batches, parsed by as many threads as there are workers. Batches can overtake each other.
    fn parsed<P, A, B>(
        &self,
        person: impl Fn(&Person) -> Option<P> + Copy + Send + 'static,
        auction: impl Fn(&Auction) -> Option<A> + Copy + Send + 'static,
        bid: impl Fn(&Bid) -> Option<B> + Copy + Send + 'static,
    ) -> Result<Receiver<Result<Batch<P, A, B>, Error>>, Error>
    where
        P: DBData,
        A: DBData,
        B: DBData,
    {
        let file = Arc::new(Mutex::new(BufReader::with_capacity(1 << 20, File::open(&self.events)?)));
        let (sender, receiver) = sync_channel(AHEAD);
        for _ in 0..self.workers {
            let (file, sender, lines) = (Arc::clone(&file), sender.clone(), self.batch);
            thread::spawn(move || {
                let parse = |text: &[u8]| {
                    let mut batch =
                        Batch { persons: Vec::new(), auctions: Vec::new(), bids: Vec::with_capacity(lines) };
                    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                        match serde_json::from_slice(line)? {
                            Event::Person(p) => batch.persons.extend(person(&p).map(|row| Tup2(row, 1))),
                            Event::Auction(a) => batch.auctions.extend(auction(&a).map(|row| Tup2(row, 1))),
                            Event::Bid(b) => batch.bids.extend(bid(&b).map(|row| Tup2(row, 1))),
                        }
                    }
                    Ok(batch)
                };
                send_all(&file, lines, &sender, parse);
            });
        }
        Ok(receiver)
    }

    /// Counts the answer's rows, and writes them if they are wanted.
    fn write<R: DBData + Cells>(&self, answer: &OutputHandle<SpineSnapshot<OrdZSet<R>>>) -> Result<u64, Error> {
        let mut file: Option<BufWriter<File>> = match &self.answer {
            Some(path) => Some(BufWriter::new(File::create(path)?)),
            None => None,
        };
        let mut rows = 0;
        for part in answer.take_from_all() {
            for (row, (), weight) in part.iter() {
                rows += u64::try_from(weight).map_err(|_| format!("{row:?} is in the answer {weight} times"))?;
                let Some(file) = &mut file else { continue };
                for _ in 0..weight {
                    row.write(file)?;
                    file.write_all(b"\n")?;
                }
            }
        }
        if let Some(file) = &mut file {
            file.flush()?;
        }
        Ok(rows)
    }
}

/// Reads so many lines at a time, parses them and sends what comes of it, until the file or the receiver ends.
fn send_all<T>(
    file: &Mutex<BufReader<File>>,
    lines: usize,
    sender: &SyncSender<Result<T, Error>>,
    parse: impl Fn(&[u8]) -> Result<T, Error>,
) {
    let mut text = Vec::new();
    loop {
        let parsed = match read_lines(file, lines, &mut text) {
            Ok(()) if text.is_empty() => return,
            Ok(()) => parse(&text),
            Err(e) => Err(e.into()),
        };
        let failed = parsed.is_err();
        if sender.send(parsed).is_err() || failed {
            return;
        }
    }
}

fn read_lines(file: &Mutex<BufReader<File>>, lines: usize, text: &mut Vec<u8>) -> io::Result<()> {
    text.clear();
    let mut file = file.lock().map_err(|_| io::Error::other("the other reader ended in a panic"))?;
    for _ in 0..lines {
        if file.read_until(b'\n', text)? == 0 {
            break;
        }
    }
    Ok(())
}

/// CPU seconds of all threads so far, in the kernel's ticks of a hundredth.
fn cpu_seconds() -> Result<f64, Error> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks = fields.skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / 100.0)
}

/// The most memory that was resident, in MB.
fn peak_mb() -> Result<f64, Error> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
}
