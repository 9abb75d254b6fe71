//! Lines in, records out.

use std::io::{BufRead, BufReader, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fleuve_log::batch::{Compression, NewRecord};
use fleuve_types::{Clock, Error, ErrorKind, Result, SystemClock};
use tokio::sync::mpsc;

use super::args::{Codec, ProduceArgs};
use super::kafka::{self, Connection, Producer, partition_of_key};

/// A line longer than this is not a record.
const MAX_LINE_BYTES: usize = 64 << 20;
/// Lines that are read ahead.
const QUEUE_LINES: usize = 4096;
/// A batch is sent when it has grown to this, or when there is nothing more to read at the moment.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_RECORDS: usize = 2000;
/// With `--rate`, how often the records that are due are sent.
const TICK: Duration = Duration::from_millis(25);

/// What all records have in common.
struct Shape {
    separator: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    partitions: Vec<i32>,
    /// With `--partition`.
    fixed: Option<i32>,
}

/// `fleuve produce`
pub async fn run(args: ProduceArgs) -> Result<ExitCode> {
    let mut lines = lines(&args)?;
    let mut connection = Connection::open(&kafka::find(&args.broker)).await?;
    let partitions = connection.partitions(&args.topic, true).await?;
    if let Some(wanted) = args.partition.filter(|p| !partitions.contains(p)) {
        return Err(Error::not_found(format!("{} has no partition {wanted}; it has {}", args.topic, partitions.len())));
    }
    let compression = match args.compression {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    };
    let shape = Shape {
        separator: args.key_separator.map(String::into_bytes),
        key: args.key.map(String::into_bytes),
        headers: args.headers.into_iter().map(|(k, v)| (k.into_bytes(), v.into_bytes())).collect(),
        partitions,
        fixed: args.partition,
    };
    let mut producer = Producer::new(connection, &args.topic, compression).await?;
    let begun = Instant::now();
    let sent = pump(&mut producer, &mut lines, &shape, args.rate.filter(|rate| *rate > 0)).await?;
    if !args.quiet {
        let seconds = begun.elapsed().as_secs_f64();
        let records = if sent == 1 { "record" } else { "records" };
        // Standard error, so that standard output stays free for whoever scripts this.
        let _ = writeln!(std::io::stderr(), "{sent} {records} written to {} in {seconds:.1} s", args.topic);
    }
    Ok(ExitCode::SUCCESS)
}

async fn pump(
    producer: &mut Producer,
    lines: &mut mpsc::Receiver<Result<Vec<u8>>>,
    shape: &Shape,
    rate: Option<u32>,
) -> Result<u64> {
    let begun = Instant::now();
    let (mut sent, mut turn) = (0u64, 0usize);
    while let Some(first) = lines.recv().await {
        let mut next = Some(first);
        let (mut waiting, mut bytes) = (0, 0);
        while let Some(line) = next {
            bytes = bytes.max(push(producer, shape, turn, &line?)?);
            waiting += 1;
            let due =
                rate.is_none_or(|rate| ((sent + waiting) as f64) < begun.elapsed().as_secs_f64() * f64::from(rate));
            if !due || bytes >= BATCH_BYTES || waiting as usize >= BATCH_RECORDS {
                break;
            }
            next = lines.try_recv().ok();
        }
        producer.flush().await?;
        sent += waiting;
        turn += 1;
        while let Some(rate) = rate
            && sent as f64 > begun.elapsed().as_secs_f64() * f64::from(rate)
        {
            let ahead = Duration::from_secs_f64(sent as f64 / f64::from(rate)).saturating_sub(begun.elapsed());
            tokio::time::sleep(ahead.max(TICK)).await;
        }
    }
    Ok(sent)
}

/// Adds a line to the batch of its partition; `turn` chooses the partition of records without a key.
fn push(producer: &mut Producer, shape: &Shape, turn: usize, line: &[u8]) -> Result<usize> {
    let (key, value) = match &shape.separator {
        Some(separator) => match find(line, separator) {
            Some(at) => (Some(&line[..at]), &line[at + separator.len()..]),
            None => (None, line),
        },
        None => (shape.key.as_deref(), line),
    };
    let count = shape.partitions.len();
    let partition = match (shape.fixed, key) {
        (Some(partition), _) => partition,
        (None, Some(key)) => shape.partitions[partition_of_key(key, count)],
        (None, None) => shape.partitions[turn % count],
    };
    let headers: Vec<(&[u8], Option<&[u8]>)> = shape.headers.iter().map(|(k, v)| (&k[..], Some(&v[..]))).collect();
    let record = NewRecord { timestamp_ms: SystemClock.now_ms(), key, value: Some(value), headers: &headers };
    producer.push(partition, &record)
}

fn find(line: &[u8], separator: &[u8]) -> Option<usize> {
    match separator.is_empty() {
        true => None,
        false => line.windows(separator.len()).position(|w| w == separator),
    }
}

/// The lines of the file or of standard input, read by a thread of their own.
fn lines(args: &ProduceArgs) -> Result<mpsc::Receiver<Result<Vec<u8>>>> {
    let reader: Box<dyn BufRead + Send> = match &args.file {
        None => Box::new(BufReader::new(std::io::stdin())),
        Some(path) => {
            let file =
                std::fs::File::open(path).map_err(|e| Error::io(format!("cannot read {}", path.display()), e))?;
            match path.extension().is_some_and(|e| e == "gz") {
                true => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(BufReader::new(file)))),
                false => Box::new(BufReader::new(file)),
            }
        }
    };
    let (sender, receiver) = mpsc::channel(QUEUE_LINES);
    std::thread::spawn(move || read_lines(reader, &sender));
    Ok(receiver)
}

fn read_lines(mut reader: impl BufRead, sender: &mpsc::Sender<Result<Vec<u8>>>) {
    loop {
        let mut line = Vec::new();
        let read = std::io::Read::take(&mut reader, MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line);
        let item = match read {
            Ok(0) => return,
            Ok(_) if line.len() > MAX_LINE_BYTES => {
                Err(Error::new(ErrorKind::Limit, format!("a line is longer than {} MiB", MAX_LINE_BYTES >> 20)))
            }
            Ok(_) => {
                line.pop_if(|b| *b == b'\n');
                line.pop_if(|b| *b == b'\r');
                Ok(line)
            }
            Err(e) => Err(Error::io("cannot read the lines", e)),
        };
        let failed = item.is_err();
        // When nobody takes lines any more, the command has ended with its own error.
        if sender.blocking_send(item).is_err() || failed {
            return;
        }
    }
}
