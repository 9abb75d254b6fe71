use fleuve_store::{Blob, FsBlob};

use super::*;

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(Random::new(seed), Path::new("/d"), Lies::default())
}

fn put(disk: &SimDisk, name: &str, bytes: &[u8], sync: bool) {
    let file = disk.open(&Path::new("/d").join(name), Open::Create).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    if sync {
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
    }
}

#[test]
fn what_was_synced_stays_and_the_rest_may_not() {
    let (mut gone, mut torn) = (0, 0);
    for seed in 0..200 {
        let disk = disk(seed);
        put(&disk, "a", b"synced", true);
        put(&disk, "b", &[7; 2000], false);
        let file = disk.open(Path::new("/d/a"), Open::Write).unwrap();
        file.write_all_at(b"more", 6).unwrap();
        let next = disk.cut_power();
        assert!(file.sync().is_err(), "a handle does not outlive its machine");
        assert!(next.read(Path::new("/d/a")).unwrap().starts_with(b"synced"));
        match next.read(Path::new("/d/b")) {
            Err(_) => gone += 1,
            Ok(bytes) if bytes != [7; 2000] => torn += 1,
            Ok(_) => {}
        }
    }
    assert!(gone > 20 && torn > 20, "{gone} {torn}");
}

#[test]
fn a_killed_process_leaves_what_it_wrote() {
    let disk = disk(1);
    put(&disk, "a", b"bytes", false);
    let next = disk.kill();
    assert_eq!(next.read(Path::new("/d/a")).unwrap(), b"bytes");
    assert!(disk.read(Path::new("/d/a")).is_err());
}

#[test]
fn a_failed_sync_loses_what_a_later_one_does_not_bring_back() {
    let lost = (0..50).any(|seed| {
        let disk = disk(seed);
        put(&disk, "a", b"", true);
        let file = disk.open(Path::new("/d/a"), Open::Write).unwrap();
        file.write_all_at(b"one", 0).unwrap();
        disk.arm(1, Fault::Sync);
        file.sync().unwrap_err();
        file.sync().unwrap();
        assert_eq!(disk.read(Path::new("/d/a")).unwrap(), b"one", "memory has it still");
        disk.cut_power().read(Path::new("/d/a")).unwrap().is_empty()
    });
    assert!(lost);
}

#[test]
fn a_rename_is_seen_at_once_and_durable_with_its_folder() {
    let lost = (0..50).any(|seed| {
        let disk = disk(seed);
        put(&disk, "a", b"old", true);
        put(&disk, "a.tmp", b"new", false);
        disk.open(Path::new("/d/a.tmp"), Open::Read).unwrap().sync().unwrap();
        disk.rename(Path::new("/d/a.tmp"), Path::new("/d/a")).unwrap();
        assert_eq!(disk.read(Path::new("/d/a")).unwrap(), b"new");
        let after = disk.cut_power().read(Path::new("/d/a")).unwrap();
        assert!(after == b"old" || after == b"new");
        after == b"old"
    });
    assert!(lost);
}

#[test]
fn the_same_seed_loses_the_same() {
    let image = |seed| {
        let disk = disk(seed);
        for n in 0..10 {
            put(&disk, &format!("{n}"), &[n; 3000], n % 3 == 0);
        }
        let disk = disk.cut_power();
        (0..10).map(|n| disk.read(&Path::new("/d").join(format!("{n}"))).ok()).collect::<Vec<_>>()
    };
    assert_eq!(image(3), image(3));
    assert_ne!(image(3), image(4));
}

#[test]
fn an_object_whose_sync_failed_is_durable_after_the_next() {
    for seed in 0..50 {
        let disk = disk(seed);
        let store = FsBlob::open_on(Arc::new(disk.clone()), "/d/store").unwrap();
        let mut writer = store.create("a/b").unwrap();
        writer.write(b"state").unwrap();
        writer.finish().unwrap();
        let reader = store.open("a/b").unwrap();
        disk.arm(1, Fault::Sync);
        store.sync(&["a/b".into()]).unwrap_err();
        store.sync(&["a/b".into()]).unwrap();
        let mut bytes = [0; 5];
        reader.read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"state");
        let after = FsBlob::open_on(Arc::new(disk.cut_power()), "/d/store").unwrap();
        assert_eq!(after.get("a/b").unwrap(), &b"state"[..], "seed {seed}");
    }
}
