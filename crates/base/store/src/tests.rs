use fleuve_types::ErrorKind;

use crate::{Blob, FsBlob, MemoryBlob};

fn check(store: &dyn Blob) {
    store.put("a/1.run", b"one").unwrap();
    store.put("a/2.run", b"two").unwrap();
    store.put("b.run", b"").unwrap();
    store.put("a/1.run", b"again").unwrap();
    assert_eq!(store.get("a/1.run").unwrap(), "again");
    assert_eq!(store.list("a/").unwrap(), ["a/1.run", "a/2.run"]);
    assert_eq!(store.list("").unwrap().len(), 3);
    store.delete("a/1.run").unwrap();
    store.delete("a/1.run").unwrap();
    assert_eq!(store.get("a/1.run").unwrap_err().kind, ErrorKind::NotFound);
    // Written as a stream, read in parts.
    let mut half = store.create("c/d.run").unwrap();
    half.write(b"half").unwrap();
    drop(half);
    let mut writer = store.create("c/d.run").unwrap();
    writer.write(b"some").unwrap();
    assert_eq!(store.open("c/d.run").err().map(|e| e.kind), Some(ErrorKind::NotFound));
    writer.write(b"thing").unwrap();
    writer.finish().unwrap();
    store.sync(&["c/d.run".into()]).unwrap();
    assert_eq!(store.get("c/d.run").unwrap(), "something");
    assert_eq!(store.list("c").unwrap(), ["c/d.run"]);
    let reader = store.open("c/d.run").unwrap();
    store.delete("c/d.run").unwrap();
    let mut part = [0; 4];
    reader.read_at(3, &mut part).unwrap();
    assert_eq!((reader.size().unwrap(), &part), (9, b"ethi"));
    assert_eq!(reader.read_at(6, &mut part).unwrap_err().kind, ErrorKind::Io);
}

#[test]
fn files_and_memory_behave_the_same() {
    let folder = tempfile::tempdir().unwrap();
    check(&FsBlob::open(folder.path()).unwrap());
    check(&MemoryBlob::default());
}

#[test]
fn a_name_cannot_leave_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = FsBlob::open(folder.path()).unwrap();
    for name in ["../x", "/etc/x", "", "a/../../x", "x.tmp"] {
        assert_eq!(store.put(name, b"").unwrap_err().kind, ErrorKind::Input, "{name}");
    }
}

#[test]
fn left_overs_of_a_crash_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.7.tmp"), b"half").unwrap();
    let store = FsBlob::open(folder.path()).unwrap();
    assert!(store.list("").unwrap().is_empty());
    assert!(!folder.path().join("x.7.tmp").exists());
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let store = MemoryBlob::default();
    store.put("x", b"old").unwrap();
    store.fail_next(1);
    assert_eq!(store.put("x", b"new").unwrap_err().kind, ErrorKind::Io);
    assert_eq!(store.get("x").unwrap(), "old");
    store.put("x", b"new").unwrap();
    assert_eq!(store.get("x").unwrap(), "new");
}
