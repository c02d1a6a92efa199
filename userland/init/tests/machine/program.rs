//! A test program without the harness of `cargo test`, because PID 1 must have one thread: what it is run as, what
//! cargo asks of it, and the lines by which its result is counted.

use std::ffi::OsString;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// A `main` that is given its arguments, its own name first.
pub type Main = fn(Vec<OsString>) -> ExitCode;

/// What libtest ends with when a test failed.
const FAILED: u8 = 101;
/// The options of libtest that take the next word with them.
const WITH_VALUE: [&str; 7] =
    ["--skip", "--test-threads", "--format", "--color", "--logfile", "--shuffle-seed", "-Z"];

/// Runs a program whose one test is `test`. As PID 1 it is init, under a name of `roles` what stands there.
pub fn run(test: &str, roles: &[(&str, Main)], body: impl FnOnce()) -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let role = |name: &str| roles.iter().find(|(role, _)| *role == name).map(|(_, main)| *main);
    if std::process::id() == 1 {
        return role("init").unwrap_or(init::init)(args);
    }
    let name = args.first().and_then(|path| Path::new(path).file_name()).unwrap_or_default();
    if let Some(main) = role(&name.to_string_lossy()) {
        return main(args);
    }
    let words: Vec<String> = args.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    ExitCode::from(tell(&mut std::io::stdout(), &words, test, rustix::process::getuid().is_root(), body))
}

/// Does what the words of libtest's command line ask for and tells the result as libtest does. The test needs root, for
/// namespaces and mounts: for anybody else it counts as ignored.
pub fn tell(out: &mut impl Write, words: &[String], test: &str, root: bool, body: impl FnOnce()) -> u8 {
    let asked = Asked::of(words);
    if asked.list {
        let _ = if asked.wants(test) { writeln!(out, "{test}: test") } else { Ok(()) };
        return 0;
    }
    let started = Instant::now();
    let wanted = asked.wants(test);
    let _ = writeln!(out, "\nrunning {} test{}", usize::from(wanted), if wanted { "" } else { "s" });
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    if wanted && !root {
        ignored = 1;
        let _ = writeln!(out, "test {test} ... ignored, needs root");
    } else if wanted {
        let held = catch_unwind(AssertUnwindSafe(body)).is_ok();
        *if held { &mut passed } else { &mut failed } = 1;
        let _ = writeln!(out, "test {test} ... {}", if held { "ok" } else { "FAILED" });
    }
    let _ = writeln!(
        out,
        "\ntest result: {}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; {} filtered out; finished in \
         {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        usize::from(!wanted),
        started.elapsed().as_secs_f64()
    );
    let _ = out.flush();
    if failed == 0 { 0 } else { FAILED }
}

/// What a command line of libtest asks for.
#[derive(Default)]
struct Asked<'a> {
    list: bool,
    /// Only what is said to be ignored by default, which nothing here is.
    ignored: bool,
    exact: bool,
    names: Vec<&'a str>,
    skipped: Vec<&'a str>,
}

impl<'a> Asked<'a> {
    fn of(words: &'a [String]) -> Asked<'a> {
        let mut asked = Asked::default();
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "--list" => asked.list = true,
                "--ignored" => asked.ignored = true,
                "--exact" => asked.exact = true,
                "--skip" => asked.skipped.extend(words.next()),
                _ if WITH_VALUE.contains(&word) => drop(words.next()),
                _ if word.starts_with('-') => {}
                _ => asked.names.push(word),
            }
        }
        asked
    }

    fn wants(&self, test: &str) -> bool {
        let is = |name: &&str| if self.exact { *name == test } else { test.contains(name) };
        !self.ignored && (self.names.is_empty() || self.names.iter().any(is)) && !self.skipped.iter().any(is)
    }
}
