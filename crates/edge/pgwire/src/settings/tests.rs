use super::*;

fn to(value: &str) -> SetValue {
    SetValue::To(value.to_string())
}

#[test]
fn a_session_starts_with_what_it_asked_for() {
    let s = Settings::new("ann", &[("application_name".into(), "psql".into()), ("nonsense".into(), "x".into())]);
    assert_eq!(s.get("Application_Name").as_deref(), Some("psql"));
    assert_eq!(s.get("session_authorization").as_deref(), Some("ann"));
    assert_eq!(s.get("server_version").as_deref(), Some("16.6"));
    assert!(!s.knows("nonsense"));
    assert!(s.reported().contains(&("application_name", "psql".to_string())));
    s.set("application_name", &to("other"), false).unwrap();
    s.reset_all();
    assert_eq!(s.get("application_name").as_deref(), Some("psql"));
}

#[test]
fn only_what_is_true_can_be_set() {
    let s = Settings::new("ann", &[]);
    s.set("standard_conforming_strings", &to("on"), false).unwrap();
    assert_eq!(s.set("standard_conforming_strings", &to("off"), false).unwrap_err().code, "22023");
    assert_eq!(s.set("server_version", &to("17"), false).unwrap_err().code, "55000");
    assert_eq!(s.set("no_such_thing", &to("17"), false).unwrap_err().code, "42704");
    assert_eq!(
        s.set("datestyle", &to("ISO, DMY"), false).unwrap().report,
        Some(("DateStyle".into(), "ISO, DMY".into()))
    );
    assert!(s.set("timezone", &to("Europe/Paris"), false).unwrap().warning.is_some());
    assert_eq!(s.get("timezone").as_deref(), Some("UTC"));
}

#[test]
fn a_setting_of_words_takes_these() {
    let s = Settings::new("ann", &[]);
    assert_eq!(s.get("query_time").as_deref(), Some("clock"));
    s.set("query_time", &to("Epoch"), false).unwrap();
    assert_eq!(s.get("query_time").as_deref(), Some("epoch"));
    assert_eq!(s.set("query_time", &to("noon"), false).unwrap_err().code, "22023");
    s.set("query_time", &SetValue::Default, false).unwrap();
    assert_eq!(s.get("query_time").as_deref(), Some("clock"));
}

#[test]
fn durations_have_units() {
    let s = Settings::new("ann", &[]);
    for (text, ms) in [("100", 100), ("2s", 2000), ("1min", 60_000), ("0", 0), ("5 ms", 5)] {
        s.set("statement_timeout", &to(text), false).unwrap();
        assert_eq!(s.statement_timeout_ms(), ms, "{text}");
    }
    assert!(s.set("statement_timeout", &to("soon"), false).is_err());
}

#[test]
fn a_rollback_brings_settings_back_and_a_commit_only_the_local_ones() {
    let s = Settings::new("ann", &[]);
    s.begin();
    s.set("application_name", &to("a"), false).unwrap();
    assert_eq!(s.end(false).len(), s.reported().len());
    assert_eq!(s.get("application_name").as_deref(), Some(""));
    s.begin();
    s.set("application_name", &to("a"), false).unwrap();
    s.set("work_mem", &to("1MB"), true).unwrap();
    assert_eq!(s.get("work_mem").as_deref(), Some("1MB"));
    s.end(true);
    assert_eq!(s.get("application_name").as_deref(), Some("a"));
    assert_eq!(s.get("work_mem").as_deref(), Some("4MB"));
    assert!(s.set("work_mem", &to("1MB"), true).unwrap().warning.is_some());
}

#[test]
fn a_client_keeps_a_bounded_number_of_its_own() {
    let s = Settings::new("ann", &[]);
    let failed = (0..200).filter(|i| s.set(&format!("my.s{i}"), &to("x"), false).is_err()).count();
    assert!(failed >= 95, "{failed}");
    assert_eq!(s.get("my.s1").as_deref(), Some("x"));
}
