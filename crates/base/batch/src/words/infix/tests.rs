use super::infix;

#[test]
fn operators_stand_between_what_they_compute_with() {
    for (line, expected) in [
        ("Map: project +(id@0, 1)", "Map: project id@0 + 1"),
        ("filter +(a@0, *(b@1, 2)) > 5 AND x", "filter a@0 + (b@1 * 2) > 5 AND x"),
        ("project -(+(a@0, 1)), -(b@1), -(a@0, b@1)", "project -(a@0 + 1), -b@1, a@0 - b@1"),
        ("sum(+(t.v, Int64(1))) / Float64(2)", "sum(t.v + Int64(1)) / Float64(2)"),
        ("+(a@0, 1) % 2 = 0", "(a@0 + 1) % 2 = 0"),
        ("2 / *(a@0, 3)", "2 / (a@0 * 3)"),
        ("*(c@0, a@1 / b@2)", "c@0 * (a@1 / b@2)"),
        ("+(CAST(a@0 AS Int64), f(b@1, c@2))", "CAST(a@0 AS Int64) + f(b@1, c@2)"),
        // A text, a name and a star are no calls.
        ("s@0 = '+(a, b)' AND \"-(x)\"@1", "s@0 = '+(a, b)' AND \"-(x)\"@1"),
        ("count(*) FILTER (WHERE a)", "count(*) FILTER (WHERE a)"),
        ("+(a@0", "+(a@0"),
        ("+(a, b, c) +()", "+(a, b, c) +()"),
        ("é +(ä@0, ö@1)", "é ä@0 + ö@1"),
    ] {
        assert_eq!(infix(line), expected, "{line}");
    }
}

#[test]
fn what_is_deep_or_cut_off_stays_as_it_is() {
    for text in ["+(".repeat(1_000), format!("{}a, b{}", "+(".repeat(200), ", c)".repeat(200)), "'".repeat(99)] {
        assert!(!infix(&text).is_empty());
    }
}
