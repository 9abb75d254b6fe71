use super::group::ranges;
use super::partition_of_key;

#[test]
fn keys_go_where_the_java_client_sends_them() {
    // From org.apache.kafka.common.utils.UtilsTest: murmur2 of these keys, made positive.
    let cases: [(&str, i32); 6] = [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ];
    for (key, hash) in cases {
        let positive = (hash as u32 & 0x7fff_ffff) as usize;
        assert_eq!(partition_of_key(key.as_bytes(), 97), positive % 97, "{key}");
    }
}

#[test]
fn partitions_are_shared_out_evenly_and_completely() {
    for partitions in 0..12 {
        for members in 1..6 {
            let all: Vec<i32> = (0..partitions).collect();
            let shares = ranges(&all, members);
            assert_eq!(shares.len(), members);
            assert_eq!(shares.concat(), all);
            let longest = shares.iter().map(Vec::len).max().unwrap();
            let shortest = shares.iter().map(Vec::len).min().unwrap();
            assert!(longest - shortest <= 1);
        }
    }
}
