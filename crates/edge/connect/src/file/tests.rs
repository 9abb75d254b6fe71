use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use fleuve_types::ErrorKind;
use tempfile::TempDir;

use super::names::Name;
use super::{FileOptions, FileSource};

mod csv;
mod rotation;

/// A folder with files, and what was read of them.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self, pattern: &str, follow: bool) -> FileOptions {
        FileOptions { follow, ..FileOptions::of_path(self.path(pattern).to_str().unwrap()) }
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn compress(&self, name: &str) {
        let text = fs::read(self.path(name)).unwrap();
        fs::write(self.path(&format!("{name}.gz")), gzip(&text)).unwrap();
        fs::remove_file(self.path(name)).unwrap();
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Polls until nothing comes; the texts of the lines.
fn drain(source: &mut FileSource) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let batch = source.poll(1 << 20).unwrap();
        if batch.lines.is_empty() {
            return all;
        }
        all.extend(batch.lines.iter().map(|line| String::from_utf8(line.bytes.to_vec()).unwrap()));
    }
}

fn read_all(options: FileOptions) -> Vec<String> {
    drain(&mut FileSource::open(options, None).unwrap())
}

#[test]
fn plain_and_compressed_files_once() {
    let files = Files::new();
    files.append("b.log", "b1\r\n\nb3");
    fs::write(files.path("a.log.gz"), [gzip(b"a1\na2"), gzip(b"+\na3")].concat()).unwrap();
    fs::create_dir(files.path("c.log")).unwrap();
    let mut source = FileSource::open(files.options("*.log*", false), None).unwrap();
    let batch = source.poll(1 << 20).unwrap();
    let lines: Vec<(String, String, u64)> = batch
        .lines
        .iter()
        .map(|l| {
            let file = Path::new(l.file.as_ref()).file_name().unwrap().to_str().unwrap().to_string();
            (String::from_utf8(l.bytes.to_vec()).unwrap(), file, l.line_no)
        })
        .collect();
    let expected = [
        ("a1", "a.log.gz", 1),
        ("a2+", "a.log.gz", 2),
        ("a3", "a.log.gz", 3),
        ("b1", "b.log", 1),
        ("", "b.log", 2),
        ("b3", "b.log", 3),
    ];
    assert_eq!(lines, expected.map(|(text, file, line)| (text.to_string(), file.to_string(), line)));
    assert!(batch.end);
    let mut again = FileSource::open(files.options("*.log*", false), Some(&batch.position)).unwrap();
    let batch = again.poll(1 << 20).unwrap();
    assert!(batch.lines.is_empty() && batch.end);
}

#[test]
fn options_by_name() {
    let options = |pairs: &[(&str, &str)]| {
        let pairs: BTreeMap<String, String> = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        FileOptions::new(&pairs).map_err(|e| e.to_string())
    };
    let all = [
        ("path", "x"),
        ("follow", "TRUE"),
        ("header", "true"),
        ("max_line_bytes", "5000"),
        ("skip_empty_lines", "true"),
    ];
    let expected = FileOptions {
        path: "x".into(),
        follow: true,
        header: true,
        max_line_bytes: 5000,
        skip_empty_lines: true,
        csv: None,
    };
    assert_eq!(options(&all), Ok(expected));
    assert!(options(&[]).unwrap_err().contains("needs the option path"));
    assert!(
        options(&[("path", "x"), ("folow", "true")]).unwrap_err().contains("no option 'folow' (there are: follow,")
    );
    assert!(options(&[("path", "x"), ("follow", "maybe")]).unwrap_err().contains("not true or false"));
    assert!(options(&[("path", "x"), ("max_line_bytes", "1")]).unwrap_err().contains("from 4096"));
    assert!(options(&[("path", "a***")]).unwrap_err().contains("no pattern"));
}

#[test]
fn a_missing_path() {
    let files = Files::new();
    let error = FileSource::open(files.options("none.log", false), None).err().unwrap();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.to_string().contains("none.log'"), "{error}");
    let mut source = FileSource::open(files.options("none.log", true), None).unwrap();
    assert_eq!(drain(&mut source), [""; 0]);
    files.append("none.log", "now\n");
    assert_eq!(drain(&mut source), ["now"]);
    assert!(FileSource::open(files.options("none.log", true), Some(b"{}")).is_err());
}

#[test]
fn a_growing_file_and_its_last_line() {
    let files = Files::new();
    files.append("a.log", "one\ntw");
    let mut source = FileSource::open(files.options("a.log", true), None).unwrap();
    assert_eq!(drain(&mut source), ["one"]);
    files.append("a.log", "o");
    assert_eq!(drain(&mut source), [""; 0]);
    files.append("a.log", "\nthree\n");
    assert_eq!(drain(&mut source), ["two", "three"]);
    files.append("a.log", "end");
    assert_eq!(drain(&mut source), [""; 0]);
    assert_eq!(read_all(files.options("a.log", false)), ["one", "two", "three", "end"]);
}

#[test]
fn headers_and_empty_lines() {
    let files = Files::new();
    files.append("a.csv", "id,name\n1,x\n\n2,y\n");
    files.append("b.csv", "id,name\n1,x\n");
    let options = FileOptions { header: true, skip_empty_lines: true, ..files.options("*.csv", true) };
    let mut source = FileSource::open(options.clone(), None).unwrap();
    let batch = source.poll(1 << 20).unwrap();
    let numbers: Vec<u64> = batch.lines.iter().map(|line| line.line_no).collect();
    assert_eq!(numbers, [2, 4, 2]);
    files.append("c.csv", "id,name\n");
    assert_eq!(drain(&mut source), [""; 0]);
    files.append("c.csv", "3,z\n");
    assert_eq!(drain(&mut source), ["3,z"]);
}

#[test]
fn a_line_too_long_is_cut_and_marked() {
    let files = Files::new();
    let long = "x".repeat(300_000);
    let (fits, over) = ("y".repeat(4096), "z".repeat(4097));
    files.append("a.log", &format!("short\n{long}\n{fits}\n{fits}\r\n{over}\nafter\n{long}"));
    let check = |bytes: Vec<u8>, name: &str| {
        fs::write(files.path(name), bytes).unwrap();
        let options = FileOptions { max_line_bytes: 4096, ..files.options(name, false) };
        let mut source = FileSource::open(options, None).unwrap();
        let batch = source.poll(1 << 20).unwrap();
        let lines: Vec<(usize, u64, bool)> =
            batch.lines.iter().map(|l| (l.bytes.len(), l.line_no, l.oversize)).collect();
        let expected = [
            (5, 1, false),
            (4096, 2, true),
            (4096, 3, false),
            (4096, 4, false),
            (4096, 5, true),
            (5, 6, false),
            (4096, 7, true),
        ];
        assert_eq!(lines, expected);
        assert!(batch.end);
    };
    let plain = fs::read(files.path("a.log")).unwrap();
    check(gzip(&plain), "b.gz");
    check(plain, "a.log");
}

#[test]
fn batches_are_bounded() {
    let files = Files::new();
    files.append("a.log", &"0123456789\n".repeat(100));
    let mut source = FileSource::open(files.options("a.log", false), None).unwrap();
    for _ in 0..10 {
        let batch = source.poll(95).unwrap();
        assert_eq!((batch.lines.len(), batch.end), (10, false));
    }
    assert!(source.poll(95).unwrap().end);
}

#[test]
fn a_busy_file_keeps_no_other_waiting() {
    let files = Files::new();
    let mut source = FileSource::open(files.options("*.log", true), None).unwrap();
    files.append("b.log", "quiet\n");
    let mut texts = Vec::new();
    for _ in 0..3 {
        files.append("a.log", &"busy\n".repeat(10));
        texts.extend(source.poll(20).unwrap().lines.iter().map(|l| String::from_utf8(l.bytes.to_vec()).unwrap()));
    }
    assert!(texts.contains(&"quiet".to_string()), "{texts:?}");
}

#[test]
fn a_damaged_compressed_file() {
    let files = Files::new();
    let text: String = (0..20_000).map(|i| format!("line {i}\n")).collect();
    let whole = gzip(text.as_bytes());
    fs::write(files.path("a.gz"), &whole[..whole.len() / 2]).unwrap();
    files.append("b.log", "fine\n");
    let mut source = FileSource::open(files.options("*", false), None).unwrap();
    let got = source.poll(1 << 30).unwrap();
    assert!(got.lines.len() > 5_000 && !got.end);
    assert_eq!(source.poll(1 << 30).unwrap().lines.len(), 1);
    let error = source.poll(1 << 30).unwrap_err();
    assert!(error.to_string().contains("a.gz after line"), "{error}");
    // One that follows goes on with the others, and with this one when the rest has come.
    let mut source = FileSource::open(files.options("*", true), Some(&got.position)).unwrap();
    assert_eq!(drain(&mut source), ["fine"]);
    fs::write(files.path("a.gz"), &whole).unwrap();
    assert_eq!(drain(&mut source).len(), 20_000 - got.lines.len());
}

#[test]
fn names_of_rotated_files() {
    let mut paths = vec![
        "d/access.log",
        "d/access.log.1",
        "d/access.log.10.gz",
        "d/access.log.2.gz",
        "d/error.log-20150518",
        "d/error.log",
        "d/error.log-20150517.gz",
        "d/x.log.2015-05-17",
        "d/x.log",
        "d/2015-05-17.json",
        "d/part-0001.json",
    ];
    paths.sort_by_key(|path| Name::new(path));
    let families: Vec<(String, &str)> = paths.iter().map(|path| (Name::new(path).family, *path)).collect();
    let families: Vec<(&str, &str)> = families.iter().map(|(family, path)| (family.as_str(), *path)).collect();
    assert_eq!(
        families,
        [
            ("d/2015-05-17.json", "d/2015-05-17.json"),
            ("d/access.log", "d/access.log.10.gz"),
            ("d/access.log", "d/access.log.2.gz"),
            ("d/access.log", "d/access.log.1"),
            ("d/access.log", "d/access.log"),
            ("d/error.log", "d/error.log-20150517.gz"),
            ("d/error.log", "d/error.log-20150518"),
            ("d/error.log", "d/error.log"),
            ("d/part-0001.json", "d/part-0001.json"),
            ("d/x.log", "d/x.log.2015-05-17"),
            ("d/x.log", "d/x.log"),
        ]
    );
}
