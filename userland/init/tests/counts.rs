//! The programs that test without cargo's harness are counted as those with it are: what they print, and how they end.

#[path = "machine/program.rs"]
#[allow(dead_code, reason = "this test has the harness")]
mod program;

/// What a program with the one test `walls_hold` prints when it is run with these words, and its exit status.
fn told(words: &str, root: bool, body: impl FnOnce()) -> (String, u8) {
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    let mut out = Vec::new();
    let status = program::tell(&mut out, &words, "walls_hold", root, body);
    (String::from_utf8(out).expect("text"), status)
}

/// As ci/test reads it: the number before a word, in the line of the result.
fn count(text: &str, word: &str) -> u32 {
    let line = text.lines().find(|line| line.starts_with("test result: ")).expect("the line that is counted");
    let number = line.split(&format!(" {word}")).next().and_then(|before| before.rsplit(' ').next());
    number.and_then(|number| number.parse().ok()).expect("a number before the word")
}

#[test]
fn a_test_that_holds_is_one_that_passed() {
    let (text, status) = told("--quiet --nocapture --test-threads 2", true, || ());
    assert_eq!((count(&text, "passed;"), count(&text, "failed;"), status), (1, 0, 0), "{text}");
}

#[test]
fn a_panic_is_one_that_failed() {
    let (text, status) = told("", true, || panic!("as it should"));
    assert_eq!((count(&text, "passed;"), count(&text, "failed;"), status), (0, 1, 101), "{text}");
    assert!(text.contains("test result: FAILED. "), "{text}");
}

#[test]
fn who_is_not_root_passes_nothing() {
    let (text, status) = told("", false, || panic!("it was run"));
    assert_eq!((count(&text, "passed;"), count(&text, "ignored;"), status), (0, 1, 0), "{text}");
}

#[test]
fn only_what_is_asked_for_runs() {
    for (words, runs) in [
        ("walls", true),
        ("roofs", false),
        ("roofs walls", true),
        ("--exact walls", false),
        ("--exact walls_hold", true),
        ("--skip hold", false),
        ("--ignored", false),
        ("--include-ignored", true),
        ("--format pretty walls", true),
    ] {
        let mut ran = false;
        let (text, _) = told(words, true, || ran = true);
        assert_eq!(ran, runs, "{words}");
        assert_eq!(count(&text, "filtered out"), u32::from(!runs), "{words}: {text}");
        let (listed, _) = told(&format!("--list {words}"), true, || panic!("listing runs nothing"));
        assert_eq!(listed == "walls_hold: test\n", runs, "{words}: {listed}");
    }
}
