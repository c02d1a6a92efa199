//! `./qemu/run`, `./qemu/ssh` and `./qemu/stop`, as a person types them.

use std::fs;
use std::process::Command;

use qemu::{Error, Output, Result};

use crate::stage::play;

/// A name that no person gives a machine of theirs.
const NAME: &str = "scenario-commands";

/// Types a command line of the harness.
fn typed(words: &[&str]) -> Result<Output> {
    let output = Command::new(env!("CARGO_BIN_EXE_qemu"))
        .args(words)
        .output()
        .map_err(|error| Error::Usage(format!("{words:?}: {error}")))?;
    Ok(Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// However the scenario ends, its machine does not outlive it.
struct Gone;

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = typed(&["stop", NAME, "--kill"]);
    }
}

#[test]
fn a_named_machine_is_run_looked_after_and_stopped() -> Result<()> {
    play("commands", |stage| {
        let directory = stage.artifacts.directory().join("machines").join(NAME);
        let _ = fs::remove_dir_all(&directory);
        let _gone = Gone;

        let run = typed(&["run", "--detach", "--name", NAME, "--memory", "768"])?;
        assert_eq!((run.code, run.stdout.trim()), (0, NAME), "{}", run.stderr);
        assert!(run.stderr.contains(&format!("./qemu/ssh {NAME}")), "{}", run.stderr);
        assert_eq!(typed(&["ssh", NAME, "exit 7"])?.code, 7);
        let words = typed(&["ssh", NAME, "echo", "two", "words", ">", "note;", "cat", "note"])?;
        assert_eq!((words.code, words.stdout.as_str()), (0, "two words\n"), "{}", words.stderr);
        assert!(typed(&["run", "--detach", "--name", NAME])?.stderr.contains("runs already"));
        assert!(typed(&["ssh", "nobody-has-this-name", "true"])?.stderr.contains(NAME));
        let stop = typed(&["stop", NAME])?;
        assert_eq!(stop.code, 0, "{}", stop.stderr);
        assert!(typed(&["ssh", NAME, "true"])?.stderr.contains("no machine"));

        // Its disk was kept; this time the power is cut.
        let again = typed(&["run", "--detach", "--name", NAME, "--memory", "768"])?;
        assert_eq!(again.code, 0, "{}", again.stderr);
        assert_eq!(typed(&["ssh", NAME, "cat", "note"])?.stdout, "two words\n");
        assert_eq!(typed(&["stop", NAME, "--kill"])?.code, 0);
        fs::remove_dir_all(&directory).map_err(|error| Error::Usage(error.to_string()))
    })
}
