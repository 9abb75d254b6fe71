use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use parking_lot::Mutex;

use super::*;
use crate::output::Output;

/// What a sink was handed, and what becomes of the next calls.
#[derive(Default)]
struct Told {
    pieces: Vec<(SinkPiece, usize)>,
    changes: Vec<Epoch>,
    calls: usize,
    /// Of so many calls one is taken.
    one_of: usize,
    /// This piece cannot be written.
    refused: Option<u32>,
    /// A piece of more rows is too large.
    most_rows: Option<usize>,
}

impl Told {
    fn call(&mut self) -> Result<()> {
        self.calls += 1;
        if self.calls.is_multiple_of(self.one_of.max(1)) {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Retry, "not now"))
        }
    }
}

struct Fake(Arc<Mutex<Told>>);

impl SinkWriter for Fake {
    fn write(&mut self, epoch: Epoch, _: &Delta) -> Result<()> {
        let mut told = self.0.lock();
        told.call()?;
        told.changes.push(epoch);
        Ok(())
    }

    fn start(&mut self, piece: SinkPiece, rows: ViewRows) -> Result<()> {
        let mut told = self.0.lock();
        if told.refused == Some(piece.n) {
            return Err(Error::input("it is no good").hint("write another one"));
        }
        told.call()?;
        let rows = rows.map(|batch| batch.map(|b| b.num_rows())).sum::<Result<usize>>()?;
        if told.most_rows.is_some_and(|most| rows > most) {
            return Err(Error::new(ErrorKind::Limit, "it is too large"));
        }
        told.pieces.push((piece, rows));
        Ok(())
    }

    fn started(&self) -> Option<SinkPiece> {
        None
    }

    fn records(&self, _: Epoch, _: &Delta) -> Result<Vec<SinkRecord>> {
        Ok(vec![])
    }

    fn records_between(&self, _: Epoch, _: &dyn SinkWriter, _: ViewRows, _: ViewRows) -> Result<Vec<SinkRecord>> {
        Ok(vec![])
    }

    fn write_records(&mut self, _: Epoch, _: &[SinkRecord]) -> Result<()> {
        Ok(())
    }

    fn last_epoch(&self) -> Option<Epoch> {
        None
    }

    fn target(&self) -> ObjectId {
        ObjectId(3)
    }

    fn follow(&mut self, _: Epoch, _: &[SinkRecord]) -> Result<()> {
        Ok(())
    }

    fn begin_anew(&mut self) {}
}

fn rows(count: i64) -> Delta {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let numbers = Int64Array::from_iter_values(0..count);
    Delta::insert(RecordBatch::try_new(schema, vec![Arc::new(numbers)]).unwrap())
}

/// A sink that begins with 100 rows in ten pieces, of which it has written the first, if it could.
fn begun(told: Told) -> (Sink, Arc<Mutex<Told>>) {
    let told = Arc::new(Mutex::new(told));
    let mut sink = Sink::new(ObjectId(1), ObjectId(2), Box::new(Fake(told.clone())));
    let all = rows(100);
    let mut output = Output::new(all.batch.schema(), None, true).unwrap();
    output.apply(&all).unwrap();
    sink.begin(output.snapshot(7), 7, 10);
    (sink, told)
}

/// How many pieces and changes it was handed.
fn counts(told: &Mutex<Told>) -> (usize, usize) {
    let told = told.lock();
    (told.pieces.len(), told.changes.len())
}

#[test]
fn changes_follow_the_answer_and_a_piece_is_written_at_a_time() {
    let (mut sink, told) = begun(Told::default());
    for epoch in 8..12 {
        sink.take(epoch, &rows(1), 1 << 20);
    }
    assert_eq!(counts(&told), (5, 0));
    assert!(sink.is_behind());
    for _ in 0..5 {
        sink.catch_up();
    }
    let told = told.lock();
    let expected = (0..10).map(|n| (SinkPiece { epoch: 7, n, of: 10 }, 10)).collect::<Vec<_>>();
    assert_eq!((&told.pieces, told.changes.as_slice()), (&expected, &[8, 9, 10, 11][..]));
    assert!(!sink.is_behind() && sink.waiting_bytes == 0);
}

#[test]
fn one_piece_is_all_of_a_small_answer() {
    assert_eq!(SinkPiece::first(3, 0, 10), SinkPiece { epoch: 3, n: 0, of: 1 });
    assert_eq!(SinkPiece::first(3, 10, 10).of, 1);
    assert_eq!(SinkPiece::first(3, 11, 10).of, 2);
    assert_eq!(SinkPiece::first(3, usize::MAX, 1).of, 4_096);
    assert_eq!(SinkPiece::first(3, 5, 0).of, 5);
    assert_eq!(SinkPiece { epoch: 3, n: 1, of: 2 }.next(), None);
}

/// The more waits behind it, the more of the answer is written.
#[test]
fn what_waits_hurries_the_answer() {
    let change = rows(1_000);
    let bytes = change.memory_bytes();
    let (mut sink, told) = begun(Told::default());
    sink.take(8, &change, 8 * bytes);
    assert_eq!(told.lock().pieces.len(), 3, "an eighth of the limit waits, and a quarter is written");
    sink.take(9, &change, 8 * bytes);
    assert_eq!(told.lock().pieces.len(), 5);
    assert_eq!(told.lock().changes.len(), 0);
    sink.take(10, &change, 8 * bytes);
    sink.take(11, &change, 8 * bytes);
    sink.take(12, &change, 8 * bytes);
    assert_eq!(counts(&told), (10, 5));
    assert!(sink.failed.is_none() && !sink.is_behind());
}

/// Beyond the limit the epoch waits for a sink that takes little at a time, and for one that takes nothing it does not.
#[test]
fn a_sink_stops_behind_its_answer_only_if_it_takes_nothing() {
    let (mut sink, told) = begun(Told { one_of: 4, ..Told::default() });
    sink.take(8, &rows(1_000), 100);
    assert!(sink.failed.is_none());
    assert_eq!(counts(&told), (10, 1));
    let (mut sink, told) = begun(Told { one_of: usize::MAX, ..Told::default() });
    sink.take(8, &rows(1_000), 100);
    assert!(sink.failed.unwrap().to_string().ends_with("more than the limit of 100 bytes"));
    assert_eq!(told.lock().pieces.len(), 0);
}

#[test]
fn whoever_waits_for_the_answer_is_told_how_it_ended() {
    let waited_for = |told: Told| {
        let (mut sink, _) = begun(told);
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        sink.beginning.as_mut().unwrap().reply = Some(reply);
        while sink.is_beginning() {
            assert!(answer.try_recv().is_err());
            sink.catch_up();
        }
        answer.try_recv().unwrap()
    };
    waited_for(Told::default()).unwrap();
    let error = waited_for(Told { refused: Some(3), ..Told::default() }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "it is no good; 3 of 10 pieces of the sink's first answer are in its stream \
         (write another one; create it anew into a stream of its own)"
    );
    assert_eq!(error.kind, ErrorKind::Input);
    // Nothing is there of one whose first piece cannot be written.
    let (sink, _) = begun(Told { refused: Some(0), ..Told::default() });
    assert_eq!(sink.failed.unwrap().to_string(), "it is no good (write another one)");
}

/// What was written before stays what it is: pieces are cut on where they are.
#[test]
fn pieces_that_are_too_large_are_cut_finer() {
    let (mut sink, told) = begun(Told::default());
    sink.catch_up();
    told.lock().most_rows = Some(4);
    while sink.is_beginning() {
        sink.catch_up();
    }
    let told = told.lock();
    let (whole, cut) = told.pieces.split_at(2);
    assert!(whole.iter().all(|(piece, rows)| (piece.of, *rows) == (10, 10)));
    assert_eq!(
        cut.iter().map(|(piece, _)| (piece.n, piece.of)).collect::<Vec<_>>(),
        (8..40).map(|n| (n, 40)).collect::<Vec<_>>()
    );
    assert!(cut.iter().all(|(_, rows)| *rows <= 4));
    assert_eq!(told.pieces.iter().map(|(_, rows)| rows).sum::<usize>(), 100);
    // A row alone cannot be cut.
    let (mut sink, told) = begun(Told { most_rows: Some(0), ..Told::default() });
    while sink.is_beginning() {
        sink.catch_up();
    }
    assert!(sink.failed.unwrap().to_string().starts_with("it is too large"));
    assert!(told.lock().pieces.iter().all(|(_, rows)| *rows == 0));
}
