use proptest::prelude::*;

use super::*;

fn numbered(range: std::ops::Range<usize>) -> String {
    range.map(|i| format!("line {i} of the log\n")).collect()
}

fn texts(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("line {i} of the log")).collect()
}

#[test]
fn renamed_and_compressed() {
    let files = Files::new();
    files.append("a.log", &numbered(0..5));
    let mut source = FileSource::open(files.options("a.log*", true), None).unwrap();
    assert_eq!(drain(&mut source), texts(0..5));
    files.append("a.log", &numbered(5..7));
    files.rename("a.log", "a.log.1");
    files.append("a.log", &numbered(7..9));
    assert_eq!(drain(&mut source), texts(5..9));
    // The writer still had the old file open.
    files.append("a.log.1", &numbered(9..10));
    assert_eq!(drain(&mut source), texts(9..10));
    files.compress("a.log.1");
    assert_eq!(drain(&mut source), [""; 0]);
    files.rename("a.log.1.gz", "a.log.2.gz");
    files.rename("a.log", "a.log.1");
    assert_eq!(drain(&mut source), [""; 0]);
}

#[test]
fn compressed_before_all_was_read() {
    let files = Files::new();
    files.append("a.log", &numbered(0..500));
    let mut source = FileSource::open(files.options("a.log*", true), None).unwrap();
    let batch = source.poll(2000).unwrap();
    files.rename("a.log", "a.log.1");
    files.compress("a.log.1");
    files.append("a.log", &numbered(500..510));
    let read = batch.lines.len();
    assert_eq!(drain(&mut source), texts(read..510));
    let mut again = FileSource::open(files.options("a.log*", true), Some(&batch.position)).unwrap();
    assert_eq!(drain(&mut again), texts(read..510));
}

#[test]
fn a_compressed_copy_that_is_being_made() {
    let files = Files::new();
    files.append("a.log.1", &numbered(0..3));
    let mut source = FileSource::open(files.options("a.log*", true), None).unwrap();
    assert_eq!(drain(&mut source), texts(0..3));
    let whole = gzip(numbered(0..3).as_bytes());
    for end in [0, 1, 5, 20, whole.len()] {
        fs::write(files.path("a.log.1.gz"), &whole[..end]).unwrap();
        assert_eq!(drain(&mut source), [""; 0], "{end} bytes");
    }
    fs::remove_file(files.path("a.log.1")).unwrap();
    assert_eq!(drain(&mut source), [""; 0]);
}

#[test]
fn copied_and_truncated() {
    let files = Files::new();
    files.append("a.log", &numbered(0..100));
    let mut source = FileSource::open(files.options("a.log*", true), None).unwrap();
    let first = source.poll(1000).unwrap().lines.len();
    // The copy is there before the original is truncated: it is not read.
    fs::copy(files.path("a.log"), files.path("a.log.1")).unwrap();
    let second = source.poll(1000).unwrap().lines.len();
    let third = source.poll(100).unwrap().lines.len();
    fs::write(files.path("a.log"), "").unwrap();
    files.append("a.log", &numbered(100..200));
    assert_eq!(drain(&mut source), texts(first + second + third..200));
    // Truncated, and longer than before when it is looked at again.
    fs::copy(files.path("a.log"), files.path("a.log.2")).unwrap();
    fs::write(files.path("a.log"), numbered(200..500)).unwrap();
    assert_eq!(drain(&mut source), texts(200..500));
}

#[test]
fn rotated_out_of_the_pattern() {
    let files = Files::new();
    files.append("a.log", &numbered(0..3));
    let options = files.options("a.log", true);
    let mut source = FileSource::open(options.clone(), None).unwrap();
    let position = source.poll(1 << 20).unwrap().position;
    files.append("a.log", &numbered(3..5));
    files.rename("a.log", "a.log.1");
    files.append("a.log", &numbered(5..6));
    assert_eq!(drain(&mut source), texts(3..6));
    // The same when it happened while nobody looked, and even if it is compressed by then.
    assert_eq!(drain(&mut FileSource::open(options.clone(), Some(&position)).unwrap()), texts(3..6));
    files.compress("a.log.1");
    assert_eq!(drain(&mut FileSource::open(options, Some(&position)).unwrap()), texts(3..6));
    assert_eq!(drain(&mut source), [""; 0]);
}

#[test]
fn a_removed_file_is_read_to_its_end_while_it_is_open() {
    let files = Files::new();
    files.append("a.log", &numbered(0..3));
    let mut source = FileSource::open(files.options("a.log", true), None).unwrap();
    assert_eq!(drain(&mut source), texts(0..3));
    files.append("a.log", &numbered(3..4));
    fs::remove_file(files.path("a.log")).unwrap();
    assert_eq!(drain(&mut source), texts(3..4));
    files.append("a.log", &numbered(4..5));
    assert_eq!(drain(&mut source), texts(4..5));
}

#[test]
fn other_files_that_begin_alike() {
    let files = Files::new();
    // Not generations of one log: both count.
    files.append("a.json", "{\"same\":1}\n");
    files.append("b.json", "{\"same\":1}\n");
    let mut source = FileSource::open(files.options("*.json", true), None).unwrap();
    assert_eq!(drain(&mut source).len(), 2);
    // A new generation of a log that begins like the one before: read once it goes its own way.
    files.append("x.json", "started\nwork 1\n");
    assert_eq!(drain(&mut source), ["started", "work 1"]);
    files.rename("x.json", "x.json.1");
    let mut source = FileSource::open(files.options("x.json*", true), None).unwrap();
    assert_eq!(drain(&mut source), ["started", "work 1"]);
    files.append("x.json", "started\n");
    drain(&mut source);
    files.append("x.json", "work 2\n");
    files.append("x.json", "work 3\n");
    let rest = drain(&mut source);
    assert!(rest.ends_with(&["work 2".to_string(), "work 3".to_string()]), "{rest:?}");
}

/// What may happen to a log between two polls.
#[derive(Clone, Debug)]
enum Step {
    /// Lines are written, the last one in two pieces maybe.
    Append(usize),
    /// Half a line is written; the next append ends it.
    Half,
    Rename,
    /// The newest renamed generation is compressed.
    Compress,
    CopyTruncate,
    Poll(usize),
    /// Stop without warning and go on from one of the positions handed out, counted back from the newest.
    Restart(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1usize..8).prop_map(Step::Append),
        1 => Just(Step::Half),
        2 => Just(Step::Rename),
        1 => Just(Step::Compress),
        1 => Just(Step::CopyTruncate),
        6 => (1usize..200).prop_map(Step::Poll),
        2 => (0usize..6).prop_map(Step::Restart),
    ]
}

/// A log that is written and rotated, its source, and every position with what was read up to it.
struct World {
    files: Files,
    options: FileOptions,
    source: FileSource,
    written: usize,
    half: bool,
    generations: usize,
    read: Vec<String>,
    positions: Vec<(Vec<u8>, usize)>,
}

impl World {
    fn new() -> Self {
        let files = Files::new();
        let options = files.options("a.log*", true);
        let source = FileSource::open(options.clone(), None).unwrap();
        let (read, positions) = (Vec::new(), Vec::new());
        Self { files, options, source, written: 0, half: false, generations: 0, read, positions }
    }

    fn append(&mut self, lines: usize) {
        let mut text = numbered(self.written..self.written + lines);
        if std::mem::take(&mut self.half) {
            text = text.split_at(4).1.to_string();
        }
        self.written += lines;
        self.files.append("a.log", &text);
    }

    /// Moves every generation on by one, as logrotate does.
    fn make_room(&mut self) {
        for generation in (1..=self.generations).rev() {
            for suffix in ["", ".gz"] {
                let from = format!("a.log.{generation}{suffix}");
                if self.files.path(&from).exists() {
                    self.files.rename(&from, &format!("a.log.{}{suffix}", generation + 1));
                }
            }
        }
        self.generations += 1;
    }

    fn poll(&mut self, max_bytes: usize) -> bool {
        let batch = self.source.poll(max_bytes).unwrap();
        self.read.extend(batch.lines.iter().map(|l| String::from_utf8(l.bytes.to_vec()).unwrap()));
        self.positions.push((batch.position, self.read.len()));
        !batch.lines.is_empty()
    }

    fn run(&mut self, step: &Step) {
        // Nobody rotates in the middle of a line.
        let whole = !self.half && self.files.path("a.log").exists();
        match step {
            Step::Append(lines) => self.append(*lines),
            Step::Half if !self.half => {
                self.files.append("a.log", "line");
                self.half = true;
            }
            Step::Rename if whole => {
                self.make_room();
                self.files.rename("a.log", "a.log.1");
            }
            Step::CopyTruncate if whole && fs::metadata(self.files.path("a.log")).unwrap().len() > 0 => {
                self.make_room();
                fs::copy(self.files.path("a.log"), self.files.path("a.log.1")).unwrap();
                fs::write(self.files.path("a.log"), "").unwrap();
            }
            Step::Compress => {
                let plain = (1..=self.generations).map(|g| format!("a.log.{g}")).find(|n| self.files.path(n).exists());
                if let Some(name) = plain {
                    self.files.compress(&name);
                }
            }
            Step::Poll(max_bytes) => {
                self.poll(*max_bytes);
            }
            Step::Restart(back) => {
                let at = self.positions.len().saturating_sub(back + 1);
                self.positions.truncate(at + 1);
                let (position, lines) = match self.positions.last() {
                    Some((position, lines)) => (Some(position.as_slice()), *lines),
                    None => (None, 0),
                };
                self.read.truncate(lines);
                self.source = FileSource::open(self.options.clone(), position).unwrap();
            }
            Step::Half | Step::Rename | Step::CopyTruncate => {}
        }
    }
}

proptest! {
    /// Whatever happens to the files and wherever the source goes on from: every line, once.
    #[test]
    fn every_line_once(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        if world.half {
            world.append(1);
        }
        while world.poll(1 << 20) {}
        let mut read = world.read.clone();
        read.sort();
        let mut expected = texts(0..world.written);
        expected.sort();
        prop_assert_eq!(read, expected);
    }

    /// From every position of a plain and of a compressed file the rest follows, in order.
    #[test]
    fn resume_from_every_position(lines in prop::collection::vec("[a-z]{0,12}", 1..30), max_bytes in 1usize..40, compressed: bool) {
        let files = Files::new();
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let bytes = if compressed { gzip(text.as_bytes()) } else { text.into_bytes() };
        fs::write(files.path("a.log"), bytes).unwrap();
        let options = files.options("a.log", false);
        let mut source = FileSource::open(options.clone(), None).unwrap();
        let mut read = 0;
        loop {
            let batch = source.poll(max_bytes).unwrap();
            read += batch.lines.len();
            let mut resumed = FileSource::open(options.clone(), Some(&batch.position)).unwrap();
            prop_assert_eq!(drain(&mut resumed), &lines[read..]);
            if batch.end {
                break;
            }
        }
        prop_assert_eq!(read, lines.len());
    }
}
