use super::complete::{Names, is_keyword, suggest};
use super::highlight::{Token, tokens};
use super::meta::{Meta, parse};
use super::script::PlainLines;
use super::split::{first_word, split};
use super::subscribed;

fn names() -> Names {
    let column = |name: &str| (name.to_string(), "BIGINT".to_string());
    let mut names = Names::default();
    names.objects.insert("orders".into(), vec![column("id"), column("amount")]);
    names.objects.insert("revenue".into(), vec![column("amount_total")]);
    names
}

fn values(line: &str) -> Vec<String> {
    suggest(&names(), line, line.len()).into_iter().map(|s| s.value).collect()
}

#[test]
fn statements_end_at_a_semicolon_that_means_it() {
    let parts = split("SELECT ';' -- no; not here\n; SELECT \";\" /* ; /* ; */ ; */; SELECT $a$;$a$ ; half ';");
    assert_eq!(parts.complete.len(), 3);
    assert_eq!(parts.complete[1], "SELECT \";\" /* ; /* ; */ ; */");
    assert_eq!(parts.complete[2], "SELECT $a$;$a$");
    assert_eq!(parts.rest, Some("half ';"));
}

#[test]
fn what_is_blank_is_no_statement() {
    for blank in ["", " ;; ; ", "-- only a comment", "/* so */ ; -- it is"] {
        let parts = split(blank);
        assert!(parts.complete.is_empty() && parts.rest.is_none(), "{blank}: {parts:?}");
    }
    assert_eq!(split("SELECT $1; x").complete, vec!["SELECT $1"]);
    assert_eq!(split("SELECT 'it''s; so';").complete, vec!["SELECT 'it''s; so'"]);
    assert!(split("SELECT 1 /* open ;").complete.is_empty());
}

#[test]
fn splitting_never_panics_and_loses_no_statement() {
    use proptest::prelude::*;
    proptest!(|(text in "[a-z;'\"$/*\\- \né]{0,40}")| {
        let parts = split(&text);
        prop_assert!(parts.complete.iter().all(|s| !s.is_empty()));
        let joined: String = tokens(&text).into_iter().map(|(_, t)| t).collect();
        prop_assert_eq!(joined, text.clone());
        suggest(&names(), &text, text.len());
    });
}

#[test]
fn the_first_word_is_found_behind_comments() {
    assert_eq!(first_word("-- x\n /* y */ select 1"), "SELECT");
    assert_eq!(first_word("/* open"), "");
}

#[test]
fn a_subscription_is_recognised() {
    assert_eq!(subscribed("SUBSCRIBE TO public.v").as_deref(), Some("public.v"));
    assert_eq!(subscribed(" subscribe  \"My View\" ").as_deref(), Some("\"My View\""));
    assert_eq!(subscribed("SELECT 'SUBSCRIBE TO x'"), None);
    assert_eq!(subscribed("SUBSCRIBE"), None);
}

#[test]
fn completion_knows_keywords_objects_columns_and_aliases() {
    assert!(values("SEL").contains(&"SELECT".to_string()));
    assert!(values("sel").contains(&"select".to_string()));
    assert!(values("SELECT * FROM ord").contains(&"orders".to_string()));
    assert!(values("SELECT am").iter().all(|v| v != "amount"), "no object is named yet");
    assert!(values("FROM orders WHERE am").contains(&"amount".to_string()));
    assert_eq!(values("FROM orders AS o WHERE o.am"), vec!["amount"]);
    assert_eq!(values("FROM orders o WHERE o.am"), vec!["amount"]);
    assert_eq!(values("FROM orders WHERE orders.i"), vec!["id"]);
    assert_eq!(values("\\d rev"), vec!["revenue"]);
    assert!(values("SELECT ").is_empty());
    assert_eq!(values("FROM revenue ORDER BY amou"), vec!["amount_total"]);
    assert_eq!(
        values("FROM revenue, orders ORDER BY amou"),
        vec!["amount", "amount_total"],
        "what the other begins with is first"
    );
}

#[test]
fn keywords_are_in_order_so_that_they_are_found() {
    for word in ["ALL", "select", "Watermark", "with"] {
        assert!(is_keyword(word), "{word}");
    }
    assert!(!is_keyword("orders"));
}

#[test]
fn tokens_are_told_apart() {
    let kinds: Vec<Token> =
        tokens("SELECT 'a' + 12 -- c").into_iter().map(|(k, _)| k).filter(|k| *k != Token::Other).collect();
    assert_eq!(kinds, vec![Token::Word, Token::Text, Token::Number, Token::Comment]);
}

#[test]
fn backslash_commands() {
    assert_eq!(parse("\\q"), Meta::Quit);
    assert_eq!(parse("\\d orders;"), Meta::Show(vec![("", "DESCRIBE orders".into())]));
    assert_eq!(parse("\\dv"), Meta::Show(vec![("Views", "SHOW VIEWS".into())]));
    assert!(matches!(parse("\\d"), Meta::Show(queries) if queries.len() == 4));
    assert_eq!(parse("\\nope"), Meta::Unknown("\\nope".into()));
}

#[test]
fn csv_lines_end_plainly_and_texts_stay() {
    let text = b"a,b\r\n\"x\r\ny\"\"\",2\r\n";
    for cut in 0..text.len() {
        let mut lines = PlainLines::default();
        let mut out = lines.convert(&text[..cut]);
        out.extend(lines.convert(&text[cut..]));
        assert_eq!(out, b"a,b\n\"x\r\ny\"\"\",2\n");
    }
}
