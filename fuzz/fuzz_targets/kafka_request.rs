//! Any bytes as a Kafka request: no panic, no large allocation.

#![no_main]

use fleuve_kafka::decode_request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((header, _)) = decode_request(bytes) {
        assert!(fleuve_kafka::APIS.iter().any(|api| api.key == header.api_key));
    }
});
