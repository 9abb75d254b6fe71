use std::io::Write;

use super::values::{bytes, millis};
use super::*;

fn flag(key: &str, text: &str) -> FlagValue {
    FlagValue { key: key.into(), flag: format!("--{key}"), text: text.into() }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn failure(file_text: &str, variables: &[(&str, &str)], flags: &[FlagValue]) -> String {
    let file = file(file_text);
    let variables = variables.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    load(Some(file.path()), variables, flags).unwrap_err().to_string()
}

#[test]
fn every_default_is_a_value_of_its_setting() {
    let loaded = load(None, [], &[]).unwrap();
    assert_eq!(loaded.values.len(), SETTINGS.len());
    assert!(loaded.values.iter().all(|(_, _, origin)| *origin == Origin::Default));
    assert_eq!(loaded.config.kafka.address().unwrap().to_string(), "127.0.0.1:9092");
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let file =
        file("http = 'off'\nregistry = \"127.0.0.1:1\"\npostgres = \"127.0.0.1:2\"\nshards = 3\ninsecure = true\n");
    let variables =
        [("FLEUVE_HTTP".to_string(), "127.0.0.1:3".to_string()), ("FLEUVE_REGISTRY".into(), "127.0.0.1:4".into())];
    let loaded = load(Some(file.path()), variables, &[flag("http", "127.0.0.1:5")]).unwrap();
    let config = loaded.config;
    assert_eq!(config.http.address().unwrap().port, 5);
    assert_eq!(config.registry.address().unwrap().port, 4);
    assert_eq!(config.postgres.address().unwrap().port, 2);
    assert_eq!((config.shards, config.insecure), (3, true));
    assert_eq!(config.kafka.address().unwrap().port, 9092);
    let origin = |key: &str| loaded.values.iter().find(|(s, _, _)| s.key == key).unwrap().2.clone();
    assert_eq!(origin("http"), Origin::Flag("--http".into()));
    assert_eq!(origin("registry"), Origin::Variable("FLEUVE_REGISTRY".into()));
    assert_eq!(origin("postgres"), Origin::File(file.path().display().to_string()));
    assert_eq!(origin("kafka"), Origin::Default);
}

#[test]
fn an_unknown_name_is_an_error_that_names_the_near_one() {
    assert!(failure("shard = 2", &[], &[]).contains("did you mean 'shards'?"));
    assert!(failure("", &[("FLEUVE_POSTGRESS", "x")], &[]).contains("did you mean 'FLEUVE_POSTGRES'?"));
    assert!(failure("", &[], &[flag("segmentbytes", "1")]).contains("did you mean 'segment_bytes'?"));
    assert!(failure("zzzzqqqq = 1", &[], &[]).contains("fleuve config"));
}

#[test]
fn variables_of_others_are_left_alone() {
    let others = ["FLEUVE_SERVER", "FLEUVE_BIN", "FLEUVE_SERVICE_HOST", "FLEUVE_PORT_8080_TCP", "FLEUVE_PORT", "HOME"];
    load(None, others.iter().map(|n| (n.to_string(), "x".to_string())), &[]).unwrap();
}

#[test]
fn a_wrong_value_says_which_setting_and_where_it_came_from() {
    assert_eq!(
        failure("", &[("FLEUVE_SHARDS", "many")], &[]),
        "setting shards is 'many' (FLEUVE_SHARDS), but a whole number of at least 1 is wanted"
    );
    assert!(failure("a = [\n", &[], &[]).contains(":1"));
    assert!(failure("kafka = [1]", &[], &[]).contains("a single value is wanted"));
}

#[test]
fn what_would_not_work_is_refused() {
    assert_eq!(
        failure("", &[], &[flag("memory_budget_bytes", "5")]),
        "setting memory_budget_bytes is '5' (--memory_budget_bytes), but at least 16 MiB are wanted"
    );
    load(None, [], &[flag("memory_budget_bytes", "16 MiB")]).unwrap();
    for wrong in ["loud", "info,loud", "fleuve_log=loud", "", " "] {
        assert!(failure("", &[], &[flag("log_level", wrong)]).contains("but error, warn, info"), "{wrong}");
    }
    for right in ["info", "DEBUG", "off", "info,fleuve_log=debug", "fleuve_engine", "warn,fleuve_log::wal=trace"] {
        load(None, [], &[flag("log_level", right)]).unwrap();
    }
}

#[test]
fn a_default_in_words_is_the_same_everywhere() {
    let loaded = load(None, [], &[]).unwrap();
    assert!(
        print(&loaded, ConfigFormat::Text)
            .unwrap()
            .contains("view_memory_bytes = off   (default: memory_budget_bytes; ")
    );
    assert!(print(&loaded, ConfigFormat::Markdown).unwrap().contains("| `view_memory_bytes` | memory_budget_bytes |"));
}

#[test]
fn a_door_to_the_world_wants_insecure() {
    for host in ["0.0.0.0:9092", "[::]:9092", "192.168.1.7:9092", "example.org:9092"] {
        assert!(failure("", &[], &[flag("kafka", host)]).contains("--insecure"), "{host}");
        load(None, [], &[flag("kafka", host), flag("insecure", "true")]).unwrap();
    }
    for host in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "off"] {
        load(None, [], &[flag("kafka", host)]).unwrap();
    }
}

#[test]
fn two_doors_cannot_share_an_address_but_each_can_take_a_free_port() {
    assert!(failure("", &[], &[flag("kafka", "127.0.0.1:8080")]).contains("kafka and http cannot both listen"));
    load(None, [], &[flag("kafka", "127.0.0.1:0"), flag("http", "127.0.0.1:0")]).unwrap();
}

#[test]
fn sizes_and_times_are_read_with_their_units() {
    assert_eq!(bytes("4096"), Ok(4096));
    assert_eq!(bytes("64 MiB"), Ok(64 << 20));
    assert_eq!(bytes("1.5GB"), Ok(1_500_000_000));
    assert_eq!(bytes("1_000"), Ok(1000));
    assert_eq!(millis("5 s"), Ok(5000));
    assert_eq!(millis("7 days"), Ok(7 * 86_400_000));
    for wrong in ["", "0", "-1", "much", "5 parsec", "99999999999999999999 TB", "1.2.3"] {
        assert!(bytes(wrong).is_err(), "{wrong}");
        assert!(millis(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn host_and_port_are_read_strictly() {
    for wrong in ["", "9092", "localhost", ":9092", "a:b", "::1:9092", "[::1:9092", "[x]:1", "http://a:1", "a:99999"] {
        assert!(wrong.parse::<HostPort>().is_err(), "{wrong}");
    }
    assert_eq!("[::1]:9092".parse::<HostPort>().unwrap().to_string(), "[::1]:9092");
}

#[test]
fn the_printed_toml_is_read_back_as_the_same_settings() {
    let flags =
        [flag("data", "/tmp/a \"b\""), flag("shards", "2"), flag("insecure", "true"), flag("retention_ms", "7 days")];
    let loaded = load(None, [], &flags).unwrap();
    let file = file(&print(&loaded, ConfigFormat::Toml).unwrap());
    let again = load(Some(file.path()), [], &[]).unwrap();
    assert_eq!(format!("{:?}", again.config), format!("{:?}", loaded.config));
}

#[test]
fn all_settings_are_in_every_form() {
    let loaded = load(None, [], &[]).unwrap();
    for format in [ConfigFormat::Text, ConfigFormat::Json, ConfigFormat::Toml, ConfigFormat::Markdown] {
        let text = print(&loaded, format).unwrap();
        assert!(SETTINGS.iter().all(|s| text.contains(s.key) && text.contains(s.meaning)), "{format:?}");
    }
}

#[test]
fn the_memory_of_the_machine_is_read() {
    assert_eq!(super::machine::mem_total_bytes("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16 * 1024));
    assert_eq!(super::machine::mem_total_bytes("nothing"), None);
}
