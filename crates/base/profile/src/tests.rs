use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

/// One at a time in a process, and so in these tests.
static ONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

#[inline(never)]
fn grinds_numbers(stop: &AtomicBool, count: &AtomicU64) {
    let mut n = 1_u64;
    while !stop.load(Ordering::Relaxed) {
        for i in 0..1000 {
            n = std::hint::black_box(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i));
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[inline(never)]
fn calls_itself(depth: usize, stop: &AtomicBool, count: &AtomicU64) -> usize {
    if depth == 0 {
        grinds_numbers(stop, count);
        return 0;
    }
    // Not a tail call, so that each has a frame.
    std::hint::black_box(calls_itself(depth - 1, stop, count) + 1)
}

fn with_load<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let made = std::thread::scope(|scope| {
        let grind = || {
            let _in = enter(Label::of("view public.sums"));
            calls_itself(20, &stop, &count);
        };
        let thread = std::thread::Builder::new().name("grinder".into());
        thread.spawn_scoped(scope, grind).unwrap();
        let made = work();
        stop.store(true, Ordering::Relaxed);
        made
    });
    (made, count.into_inner())
}

#[test]
fn stacks_carry_the_thread_the_label_and_the_functions() {
    let _one = ONE.lock();
    let (profile, work) = with_load(|| take(1, &AtomicBool::new(false)).unwrap());
    assert!(work > 0);
    let of_load: Vec<_> = profile.stacks.iter().filter(|(f, _)| f[0] == "grinder").collect();
    let whole: u64 = of_load.iter().map(|(_, n)| n).sum();
    let right = |frames: &Vec<String>| {
        let called = frames.iter().filter(|f| f.contains("calls_itself")).count();
        frames[1] == "view public.sums" && called >= 20 && frames.iter().any(|f| f.contains("grinds_numbers"))
    };
    let found: u64 = of_load.iter().filter(|(f, _)| right(f)).map(|(_, n)| n).sum();
    // A sample may fall into the few instructions before or after.
    assert!(whole > 0 && found * 10 >= whole * 9, "{found} of {whole}: {}", profile.folded());
    assert!(profile.folded().lines().all(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().is_ok()));
}

#[test]
fn one_profile_at_a_time_and_it_can_be_given_up() {
    let _one = ONE.lock();
    assert_eq!(take(0, &AtomicBool::new(false)).unwrap_err().kind, ErrorKind::Input);
    assert_eq!(take(61, &AtomicBool::new(false)).unwrap_err().kind, ErrorKind::Input);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| take(60, &stop));
        let begun = Instant::now();
        while !signal::is_taken() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the first never began");
            std::thread::yield_now();
        }
        assert_eq!(take(1, &AtomicBool::new(false)).unwrap_err().message, "a profile is being taken");
        stop.store(true, Ordering::Relaxed);
        assert_eq!(first.join().unwrap().unwrap_err().message, "the profile was given up");
    });
    // It is free again, many times over, with threads that come and go.
    for _ in 0..3 {
        with_load(|| take(60, &AtomicBool::new(true)).unwrap_err());
    }
}

#[test]
fn the_picture_is_whole_xml_and_names_are_escaped() {
    let stacks = vec![
        (vec!["engine".into(), "<T as a::B<\"x\">>::c & d".into()], 3),
        (vec!["engine".into(), "other".into()], 1),
    ];
    let svg = svg(&Profile { stacks, lost: 2, seconds: 5 });
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"));
    assert!(svg.contains("&lt;T as a::B&lt;&quot;x&quot;&gt;&gt;::c &amp; d\n3 samples, 75.00 %"), "{svg}");
    assert!(svg.contains("4 samples in 5 s, 2 lost"));
    assert!(super::draw::svg(&Profile::default()).contains("Nothing ran."));
}

#[test]
fn code_that_is_mapped_is_found_in_the_list() {
    let text = "5581-5582 r--p 00000000 08:01 12   /usr/bin/x\n\
                5582-5590 r-xp 00001000 08:01 12   /usr/bin/x\n\
                7f00-7f01 r-xp 00000000 00:00 0    [vdso]\n\
                7f02-7f03 r-xp 00000000 00:00 0\n";
    assert_eq!(modules::mappings_of(text), [(0x5582, 0x5590, 0x1000, "/usr/bin/x".to_string())]);
}
