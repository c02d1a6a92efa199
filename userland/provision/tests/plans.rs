//! cloud-configs and the plans they become: `plans/NAME.yaml` and `plans/NAME.plan`.
//!
//! To add a case, add a .yaml file and run with `UPDATE_PLANS=1`; then read what was written.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use provision::cloud_config::{LARGEST, plan};

fn text(data: &[u8]) -> String {
    let plan = plan(data);
    let actions = plan.actions.iter().map(|action| format!("{action}\n"));
    let problems = plan.problems.iter().map(|problem| format!("! {problem}\n"));
    actions.chain(problems).collect()
}

#[test]
fn plans_are_as_written_down() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut cases = 0;
    for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_some_and(|extension| extension == "yaml") {
            cases += 1;
            let got = text(&fs::read(&path).unwrap());
            let golden = path.with_extension("plan");
            if std::env::var_os("UPDATE_PLANS").is_some() {
                fs::write(&golden, &got).unwrap();
            }
            let want = fs::read_to_string(&golden).unwrap_or_default();
            assert_eq!(got, want, "{}", path.display());
        }
    }
    assert!(cases >= 8, "only {cases} cases were found");
}

#[test]
fn too_large_is_refused_at_once() {
    let mut large = b"#cloud-config\nhostname: a\n".to_vec();
    large.resize(10 << 20, b'#');
    let plan = plan(&large);
    assert!(plan.actions.is_empty());
    assert!(plan.problems[0].to_string().contains("larger than"), "{:?}", plan.problems);
}

#[test]
fn the_largest_inputs_end() {
    let head = "#cloud-config\n";
    let fill = |unit: &str| {
        let mut text = head.to_owned();
        while text.len() + unit.len() <= LARGEST {
            text.push_str(unit);
        }
        text
    };
    for unit in ["- a\n", "a: 1\n", "[", "{a: ", "&a [", "? ", "- - ", "'", "\"\\n", "!!x ", "a\n", "*a "] {
        let got = plan(fill(unit).as_bytes());
        assert!(got.problems.len() <= 101, "{unit}");
    }
    let many_keys: String = (0..40_000).map(|n| format!("key{n}: 1\n")).collect();
    assert_eq!(plan(format!("{head}{many_keys}").as_bytes()).problems.len(), 101);
}

proptest! {
    #[test]
    fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = text(&data);
    }

    #[test]
    fn anything_like_a_cloud_config(
        body in "((hostname|users|coreos|units|write_files|name|content|path|command|drop-ins|encoding|[a-z]{1,4})(: |:\n  |:\n  - )|[\\[\\]{},&*!|>'\"\n #-]|[a-z0-9/.]{1,6}\n){0,40}"
    ) {
        let _ = text(format!("#cloud-config\n{body}").as_bytes());
    }
}
