use fleuve_types::ManualClock;

use super::*;
use crate::AppendError;

fn from(producer_id: i64, epoch: i16, base_sequence: i32, values: &[&str]) -> Bytes {
    let producer = ProducerSequence { producer_id, epoch, base_sequence };
    batch_with(values, NOW_MS, Some(producer), Compression::None)
}

#[tokio::test]
async fn a_batch_sent_again_gets_its_old_offset() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 1)).await.unwrap();
    for i in 0..6 {
        let a = log.append(T, 0, from(7, 0, i * 2, &["a", "b"]), true).await.unwrap();
        assert_eq!((a.base_offset, a.duplicate), (i64::from(i) * 2, false));
    }
    let again = log.append(T, 0, from(7, 0, 4, &["a", "b"]), true).await.unwrap();
    assert_eq!((again.base_offset, again.last_offset, again.duplicate), (4, 5, true));
    // The first one is no longer among the last five.
    let forgotten = log.append(T, 0, from(7, 0, 0, &["a", "b"]), true).await.unwrap_err();
    assert_eq!(forgotten, AppendError::OutOfOrderSequence { producer_id: 7, got: 0, expected: 12 });
    assert_eq!(log.offsets(T, 0), Some((0, 12)));
}

#[tokio::test]
async fn gaps_and_old_epochs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 2)).await.unwrap();
    log.append(T, 0, from(7, 3, 0, &["a"]), true).await.unwrap();
    let gap = log.append(T, 0, from(7, 3, 2, &["c"]), true).await.unwrap_err();
    assert_eq!(gap, AppendError::OutOfOrderSequence { producer_id: 7, got: 2, expected: 1 });
    let fenced = log.append(T, 0, from(7, 2, 1, &["b"]), true).await.unwrap_err();
    assert_eq!(fenced, AppendError::InvalidProducerEpoch { producer_id: 7, got: 2, current: 3 });
    let bumped = log.append(T, 0, from(7, 4, 5, &["b"]), true).await.unwrap_err();
    assert_eq!(bumped, AppendError::OutOfOrderSequence { producer_id: 7, got: 5, expected: 0 });
    log.append(T, 0, from(7, 4, 0, &["b"]), true).await.unwrap();
    // Each partition counts for itself.
    log.append(T, 1, from(7, 3, 0, &["x"]), true).await.unwrap();
    // Several batches at once follow each other.
    let two = [from(7, 4, 1, &["c", "d"]), from(7, 4, 3, &["e"])].concat();
    log.append(T, 0, two.clone().into(), true).await.unwrap();
    let again = log.append(T, 0, two.into(), true).await.unwrap();
    assert_eq!((again.base_offset, again.last_offset, again.duplicate), (2, 4, true));
    assert_eq!(values(&log, T, 0), ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn producers_are_remembered_over_restarts_and_moves() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(500);
    let mut sequence = 0;
    for round in 0..6 {
        let log = open(dir.path());
        if round == 0 {
            log.create_topic(spec(T, 1)).await.unwrap();
        } else {
            let again = log.append(T, 0, from(7, 0, sequence - 1, &[&long]), true).await.unwrap();
            assert_eq!((again.base_offset, again.duplicate), (i64::from(sequence) - 1, true));
            let gap = log.append(T, 0, from(7, 0, sequence + 1, &[&long]), true).await.unwrap_err();
            assert_eq!(gap, AppendError::OutOfOrderSequence { producer_id: 7, got: sequence + 1, expected: sequence });
        }
        for _ in 0..10 {
            log.append(T, 0, from(7, 0, sequence, &[&long]), true).await.unwrap();
            sequence += 1;
        }
        if round % 2 == 0 {
            log.settle().await.unwrap();
        }
    }
    assert!(segment_files(dir.path()) > 0, "the moves were part of it");
    let log = open(dir.path());
    assert_eq!(log.offsets(T, 0), Some((0, i64::from(sequence))));
}

#[tokio::test]
async fn a_producer_is_forgotten_after_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS * 1000));
    let log = Log::open(options(dir.path()), clock.clone()).unwrap();
    log.create_topic(spec(T, 1)).await.unwrap();
    log.append(T, 0, from(7, 5, 0, &["a"]), true).await.unwrap();
    clock.advance_us(23 * 3_600_000_000);
    assert!(log.append(T, 0, from(7, 5, 9, &["b"]), true).await.is_err());
    clock.advance_us(2 * 3_600_000_000);
    log.append(T, 0, from(7, 4, 9, &["b"]), true).await.unwrap();
    assert!(log.append(T, 0, from(7, 4, 9, &["b"]), true).await.unwrap().duplicate);
}

#[tokio::test]
async fn sequence_numbers_go_round() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topic(spec(T, 1)).await.unwrap();
    log.append(T, 0, from(7, 0, i32::MAX - 1, &["a", "b", "c"]), true).await.unwrap();
    log.append(T, 0, from(7, 0, 1, &["d"]), true).await.unwrap();
    assert!(log.append(T, 0, from(7, 0, i32::MAX - 1, &["a", "b", "c"]), true).await.unwrap().duplicate);
    assert_eq!(log.offsets(T, 0), Some((0, 4)));
}
