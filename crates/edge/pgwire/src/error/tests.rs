use super::*;

fn at(line: u64, column: u64) -> Location {
    Location { file: None, line, column }
}

#[test]
fn a_place_in_the_second_statement_is_counted_in_characters_of_the_whole_query() {
    let query = "select 'é';\nselect x,\n  nope from t";
    let offset = "select 'é';\n".chars().count() as u64;
    let error = Error::input("no field named nope").at(at(2, 3));
    let e = PgError::from_fleuve(error, &Place::new(query, offset));
    let position = e.position.unwrap() as usize;
    let rest: String = query.chars().skip(position - 1).collect();
    assert!(rest.starts_with("nope from t"), "{rest}");
    assert_eq!(e.code, code::UNDEFINED_COLUMN);
    assert_eq!(e.message, "no field named nope");
}

#[test]
fn a_place_at_the_end_of_the_text_is_one_past_it() {
    let e = PgError::from_fleuve(Error::input("syntax error at end of input").at(at(1, 7)), &Place::new("select", 0));
    assert_eq!(e.position, Some(7));
}

#[test]
fn a_place_outside_the_text_stays_in_the_message() {
    let e = PgError::from_fleuve(Error::input("bad").at(at(9, 1)), &Place::new("select 1", 0));
    assert_eq!(e.position, None);
    assert_eq!(e.message, "line 9, column 1: bad");
}

#[test]
fn kinds_have_their_codes() {
    let code_of = |kind, message: &str| PgError::from_fleuve(Error::new(kind, message), &Place::nowhere()).code;
    assert_eq!(code_of(ErrorKind::Input, "syntax error at or near \"selct\""), "42601");
    assert_eq!(code_of(ErrorKind::Input, "Divide by zero"), "22012");
    assert_eq!(code_of(ErrorKind::Input, "No field named x"), "42703");
    assert_eq!(code_of(ErrorKind::Input, "table 'main.public.t' not found"), "42P01");
    assert_eq!(code_of(ErrorKind::NotFound, "there is no stream or view \"column\""), "42P01");
    assert_eq!(code_of(ErrorKind::NotFound, "there is no column \"x\""), "42703");
    assert_eq!(code_of(ErrorKind::NotFound, "relation \"t\" does not exist"), "42P01");
    assert_eq!(code_of(ErrorKind::AlreadyExists, "view \"t\" exists"), "42P07");
    assert_eq!(code_of(ErrorKind::Unsupported, "no"), "0A000");
    assert!(code_of(ErrorKind::Limit, "too much").starts_with("53"));
    assert_eq!(code_of(ErrorKind::Bug, "oh"), "XX000");
}
