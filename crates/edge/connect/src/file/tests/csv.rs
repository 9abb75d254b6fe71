use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;
use crate::CsvRows;

fn rows(files: &Files, pattern: &str, follow: bool) -> FileOptions {
    let columns = ["id", "t", "n"].map(String::from).to_vec();
    FileOptions {
        max_line_bytes: 4096,
        csv: Some(CsvRows { delimiter: b',', quote: Some(b'"'), columns }),
        ..files.options(pattern, follow)
    }
}

fn with_header(files: &Files, pattern: &str, follow: bool) -> FileOptions {
    FileOptions { header: true, ..rows(files, pattern, follow) }
}

#[test]
fn a_row_may_take_several_lines() {
    let files = Files::new();
    let text = "id,t,n\n1,\"a\nb\",3\n\n2,c,4\r\n3,\"x\r\n\",5";
    let expected = ["1,\"a\nb\",3", "2,c,4", "3,\"x\r\n\",5"];
    files.append("a.csv", text);
    fs::write(files.path("b.csv.gz"), gzip(text.as_bytes())).unwrap();
    for name in ["a.csv", "b.csv.gz"] {
        let options = FileOptions { skip_empty_lines: true, ..with_header(&files, name, false) };
        let mut source = FileSource::open(options, None).unwrap();
        let batch = source.poll(1 << 20).unwrap();
        assert_eq!(batch.lines.iter().map(|l| &l.bytes[..]).collect::<Vec<_>>(), expected.map(str::as_bytes));
        assert_eq!(batch.lines.iter().map(|l| l.line_no).collect::<Vec<_>>(), [2, 5, 6]);
        assert!(batch.end);
    }
    // As lines they are what they were.
    assert_eq!(read_all(files.options("a.csv", false)).len(), 7);
}

#[test]
fn a_row_that_is_being_written_waits_for_its_closing_quote() {
    let files = Files::new();
    files.append("a.csv", "1,\"a\nb");
    let mut source = FileSource::open(rows(&files, "a.csv", true), None).unwrap();
    let batch = source.poll(1 << 20).unwrap();
    assert_eq!(batch.in_quotes, Some((files.path("a.csv").to_str().unwrap().into(), 1)));
    assert!(batch.lines.is_empty());
    files.append("a.csv", "\nc\"");
    assert_eq!(drain(&mut source), [""; 0]);
    files.append("a.csv", ",3\n2,d,4\n");
    let batch = source.poll(1 << 20).unwrap();
    assert_eq!(batch.lines.iter().map(|l| &l.bytes[..]).collect::<Vec<_>>(), [&b"1,\"a\nb\nc\",3"[..], b"2,d,4"]);
    assert_eq!(batch.in_quotes, None);
    // One that goes on from there counts lines as they are in the file.
    files.append("a.csv", "3,e,5\n");
    let mut again = FileSource::open(rows(&files, "a.csv", true), Some(&batch.position)).unwrap();
    assert_eq!(again.poll(1 << 20).unwrap().lines[0].line_no, 5);
}

#[test]
fn a_quote_that_is_never_closed_spoils_its_line_alone() {
    let files = Files::new();
    let lines: Vec<String> = (0..1000).map(|i| format!("{i},x,{i}")).collect();
    let text = format!("0,\"oops,0\n{}\n", lines.join("\n"));
    let expected: Vec<String> = std::iter::once("0,\"oops,0".to_string()).chain(lines).collect();
    files.append("a.csv", &text);
    fs::write(files.path("b.csv.gz"), gzip(text.as_bytes())).unwrap();
    assert!(text.len() > 4096 * 2);
    for (name, follow) in [("a.csv", false), ("a.csv", true), ("b.csv.gz", false)] {
        assert_eq!(read_all(rows(&files, name, follow)), expected, "{name}");
    }
    // Less than the limit: at the end of a file that is complete, or that is not written to any more.
    let short = "0,\"oops,0\n1,x,1\n";
    files.append("c.csv", short);
    files.append("c.csv.1", "9,x,9\n8,\"oops\n7,x,7\n");
    assert_eq!(read_all(rows(&files, "c.csv", false)), ["0,\"oops,0", "1,x,1"]);
    let mut source = FileSource::open(rows(&files, "c.csv*", true), None).unwrap();
    assert_eq!(drain(&mut source), ["9,x,9"]);
    assert_eq!(drain(&mut source), ["8,\"oops", "7,x,7"]);
    assert_eq!(drain(&mut source), [""; 0]);
}

#[test]
fn a_file_whose_every_line_opens_quotes_is_read() {
    let files = Files::new();
    let line = "a\",\",b";
    let text = format!("{line}\n").repeat(300_000);
    files.append("a.csv", &text);
    fs::write(files.path("b.csv.gz"), gzip(text.as_bytes())).unwrap();
    for name in ["a.csv", "b.csv.gz"] {
        let options = FileOptions { max_line_bytes: 1 << 20, ..rows(&files, name, false) };
        let mut source = FileSource::open(options.clone(), None).unwrap();
        let (mut count, mut end) = (0, false);
        while !end {
            let batch = source.poll(1 << 18).unwrap();
            assert!(batch.lines.iter().all(|l| &l.bytes[..] == line.as_bytes() && !l.oversize), "{name}");
            assert!(batch.lines.first().is_none_or(|l| l.line_no == count + 1), "{name}");
            count += batch.lines.len() as u64;
            end = batch.end;
            source = FileSource::open(options.clone(), Some(&batch.position)).unwrap();
        }
        assert_eq!(count, 300_000, "{name}");
    }
}

#[test]
fn a_poll_ends_when_it_is_stopped() {
    let files = Files::new();
    let text = format!("1,\"{}\",2\n", "a\n".repeat(1 << 17));
    files.append("a.csv", &text);
    fs::write(files.path("b.csv.gz"), gzip(text.as_bytes())).unwrap();
    for (name, follow) in [("a.csv", false), ("a.csv", true), ("b.csv.gz", false), ("b.csv.gz", true)] {
        let stop = Arc::new(AtomicBool::new(true));
        let options = FileOptions { max_line_bytes: 1 << 20, ..rows(&files, name, follow) };
        let mut source = FileSource::open(options, None).unwrap().stopped_by(stop.clone());
        let batch = source.poll(1 << 20).unwrap();
        assert_eq!((batch.lines.len(), batch.end), (0, false));
        // Nothing is lost for one who goes on.
        stop.store(false, Ordering::SeqCst);
        let batch = source.poll(1 << 20).unwrap();
        assert_eq!((batch.lines.len(), batch.lines[0].line_no), (1, 1));
    }
}

#[test]
fn fields_are_taken_by_the_names_of_the_header() {
    let files = Files::new();
    files.append("a.csv", "n,t,id\n4,c,5\n6,\"d\n,\",7\n");
    files.append("b.csv", "id,t,n\n1,x,2\n");
    fs::write(files.path("c.csv"), gzip(b"t,id,n\ny,3,4\n")).unwrap();
    files.append("d.csv", "key,text,number\n8,z,9\n");
    let expected = ["5,c,4", "7,\"d\n,\",6", "1,x,2", "3,y,4", "8,z,9"];
    let options = with_header(&files, "*.csv", true);
    let mut source = FileSource::open(options.clone(), None).unwrap();
    assert_eq!(drain(&mut source), expected);
    // Whoever goes on in the middle of a file knows its order, too.
    let mut source = FileSource::open(options.clone(), None).unwrap();
    let (mut texts, mut position) = (Vec::new(), None::<Vec<u8>>);
    while texts.len() < expected.len() {
        let batch = source.poll(1).unwrap();
        texts.extend(batch.lines.iter().map(|l| String::from_utf8(l.bytes.to_vec()).unwrap()));
        position = Some(batch.position);
        source = FileSource::open(options.clone(), position.as_deref()).unwrap();
    }
    texts.sort();
    let mut sorted = expected.map(String::from).to_vec();
    sorted.sort();
    assert_eq!(texts, sorted);
    files.append("a.csv", "10,e,11\n");
    assert_eq!(drain(&mut FileSource::open(options, position.as_deref()).unwrap()), ["11,e,10"]);
}

#[test]
fn a_header_whose_order_can_only_be_guessed_stops_the_source() {
    let files = Files::new();
    files.append("a.csv", "id,t,n\n1,x,2\n");
    files.append("b.csv", "n,t,key\n4,c,5\n");
    for follow in [false, true] {
        let mut source = FileSource::open(with_header(&files, "*.csv", follow), None).unwrap();
        let batch = source.poll(1 << 20).unwrap();
        assert_eq!((batch.lines.len(), batch.end), (1, false));
        let error = source.poll(1 << 20).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Input);
        let text = error.to_string();
        assert!(text.contains("b.csv has the columns (n, t, key), and the stream has (id, t, n)"), "{text}");
        let mut again = FileSource::open(with_header(&files, "*.csv", follow), Some(&batch.position)).unwrap();
        assert!(again.poll(1 << 20).is_err());
        // Once its header fits it is read.
        fs::write(files.path("b.csv"), "n,t,id\n4,c,5\n").unwrap();
        let mut again = FileSource::open(with_header(&files, "*.csv", follow), Some(&batch.position)).unwrap();
        assert_eq!(drain(&mut again), ["5,c,4"]);
        fs::write(files.path("b.csv"), "n,t,key\n4,c,5\n").unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(String),
    Poll(usize),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let piece =
        prop::sample::select(vec!["1,a,2\n", "3,\"b\nc\",4\n", "\"", "\"\"", "\n", "x", ",", "5,\"d\r\n\"\r\n"]);
    let append = prop::collection::vec(piece, 1..8).prop_map(|pieces| Step::Append(pieces.concat()));
    let step = prop_oneof![3 => append, 2 => (1usize..60).prop_map(Step::Poll), 1 => Just(Step::Restart)];
    prop::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn followed_and_interrupted_the_rows_are_those_of_the_whole_file(
        steps in steps(),
        max_line_bytes in prop::sample::select(vec![16usize, 4096]),
    ) {
        let files = Files::new();
        files.append("a.csv", "n,t,id\n");
        let options = FileOptions { max_line_bytes, ..with_header(&files, "a.csv", true) };
        let mut source = FileSource::open(options.clone(), None).unwrap();
        let (mut texts, mut position) = (Vec::new(), None::<Vec<u8>>);
        let text_of = |l: &crate::Line| String::from_utf8(l.bytes.to_vec()).unwrap();
        for step in steps {
            match step {
                Step::Append(text) => files.append("a.csv", &text),
                Step::Poll(bytes) => {
                    let batch = source.poll(bytes).unwrap();
                    texts.extend(batch.lines.iter().map(text_of));
                    position = Some(batch.position);
                }
                Step::Restart => source = FileSource::open(options.clone(), position.as_deref()).unwrap(),
            }
        }
        // Also what was handed out by a source that was stopped before its position was kept.
        texts.extend(drain(&mut source));
        let in_quotes = source.poll(1).unwrap().in_quotes.is_some();
        let whole = read_all(FileOptions { follow: false, ..options });
        prop_assert!(whole.starts_with(&texts), "{whole:?} {texts:?}");
        let text = fs::read_to_string(files.path("a.csv")).unwrap();
        prop_assert!(in_quotes || !text.ends_with('\n') || whole.len() == texts.len(), "{whole:?} {texts:?}");
    }
}
