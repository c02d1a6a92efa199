//! The grammar of `docker`'s command lines, which is that of Go's pflag: `-it`, `-p80:80`, `-p=80:80`, `--rm=false`.
//!
//! Words are put into the one form that every parser reads in the same way, before ours reads them: an option with a
//! value becomes `--name=value`, a switch that is off goes, and `--` stands before what belongs to a container's own
//! program. What is unknown stays as it is, for the parser to tell of.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, Command};

/// Puts the words of a command line of `command` into that form.
///
/// # Errors
/// When a switch has a value that is neither true nor false, in the words of Docker's own command.
pub(super) fn plain(mut command: Command, words: Vec<OsString>) -> Result<Vec<OsString>, String> {
    // Then the arguments of all verbs are known, those that they share with us too.
    command.build();
    let mut words = words.into_iter();
    let mut done: Vec<OsString> = words.next().into_iter().collect();
    let mut verb = &command;
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        match bytes {
            b"--" => {
                done.push(word);
                done.extend(words);
                break;
            }
            [b'-', b'-', long @ ..] => long_option(verb, &word, long, &mut words, &mut done)?,
            [b'-', short @ ..] if !short.is_empty() => {
                short_options(verb, &word, short, &mut words, &mut done)?
            }
            _ => {
                let below = word.to_str().and_then(|name| verb.find_subcommand(name));
                if let Some(below) = below {
                    verb = below;
                } else if verb.get_positionals().any(Arg::is_trailing_var_arg_set) {
                    done.push("--".into());
                    done.push(word);
                    done.extend(words);
                    break;
                }
                if let Some(name) = below.map(Command::get_name) {
                    done.push(name.into());
                } else {
                    done.push(word);
                }
            }
        }
    }
    Ok(done)
}

fn long_option(
    verb: &Command,
    word: &OsString,
    long: &[u8],
    rest: &mut impl Iterator<Item = OsString>,
    done: &mut Vec<OsString>,
) -> Result<(), String> {
    let (name, value) = match long.iter().position(|byte| *byte == b'=') {
        Some(at) => (long.get(..at).unwrap_or_default(), long.get(at + 1..)),
        None => (long, None),
    };
    let named = |arg: &&Arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long().into_iter().chain(aliases).any(|one| one.as_bytes() == name)
    };
    let Some(arg) = verb.get_arguments().find(named) else {
        done.push(word.clone());
        return Ok(());
    };
    if !arg.get_action().takes_values() {
        return switch(arg, value, done);
    }
    match value.map(<[u8]>::to_vec).or_else(|| rest.next().map(OsString::into_vec)) {
        Some(value) => done.push(option(arg, &value)),
        None => done.push(word.clone()),
    }
    Ok(())
}

fn short_options(
    verb: &Command,
    word: &OsString,
    mut short: &[u8],
    rest: &mut impl Iterator<Item = OsString>,
    done: &mut Vec<OsString>,
) -> Result<(), String> {
    while let [letter, after @ ..] = short {
        let letter = char::from(*letter);
        let Some(arg) = verb.get_arguments().find(|arg| arg.get_short() == Some(letter)) else {
            done.push(word.clone());
            return Ok(());
        };
        let value = after.strip_prefix(b"=");
        if arg.get_action().takes_values() {
            let attached = value.or(Some(after).filter(|after| !after.is_empty())).map(<[u8]>::to_vec);
            match attached.or_else(|| rest.next().map(OsString::into_vec)) {
                Some(value) => done.push(option(arg, &value)),
                None => done.push(format!("-{letter}").into()),
            }
            return Ok(());
        }
        switch(arg, value, done)?;
        if value.is_some() {
            return Ok(());
        }
        short = after;
    }
    Ok(())
}

/// `--name=value`
fn option(arg: &Arg, value: &[u8]) -> OsString {
    let mut word = OsString::from(name(arg));
    word.push("=");
    word.push(OsStr::from_bytes(value));
    word
}

/// The last word on a switch counts.
fn switch(arg: &Arg, value: Option<&[u8]>, done: &mut Vec<OsString>) -> Result<(), String> {
    let name = name(arg);
    let on = match value.map(String::from_utf8_lossy).as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some(other) => {
            return Err(format!(
                "invalid argument {other:?} for {name:?} flag: strconv.ParseBool: parsing {other:?}: invalid syntax"
            ));
        }
    };
    done.retain(|word| word.as_os_str() != OsStr::new(&name));
    if on {
        done.push(name.into());
    }
    Ok(())
}

fn name(arg: &Arg) -> String {
    match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => arg.get_id().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ArgAction;

    fn command() -> Command {
        let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        let many = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Append);
        let program = Arg::new("image").num_args(1..).trailing_var_arg(true).required(true);
        let run = Command::new("run")
            .arg(switch("interactive").short('i'))
            .arg(switch("tty").short('t'))
            .arg(switch("rm"))
            .arg(many("publish").short('p'))
            .arg(many("network").alias("net"))
            .arg(program);
        let list = Command::new("ls").alias("list").arg(switch("quiet").short('q')).arg(many("filter"));
        let group = Command::new("image").subcommand(list.arg(Arg::new("name")));
        Command::new("docker").arg(many("store")).subcommand(run).subcommand(group)
    }

    fn read(line: &str) -> Result<String, String> {
        let words = line.split(' ').map(OsString::from).collect();
        let words = plain(command(), words)?;
        Ok(words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn every_way_to_write_an_option() {
        for (line, plain) in [
            ("docker run -it x sh", "docker run --interactive --tty -- x sh"),
            ("docker run -itp 80:80 x", "docker run --interactive --tty --publish=80:80 -- x"),
            ("docker run -p=80:80 x", "docker run --publish=80:80 -- x"),
            ("docker run -p80:80 -p 1:1 x", "docker run --publish=80:80 --publish=1:1 -- x"),
            ("docker run --publish 80:80 x", "docker run --publish=80:80 -- x"),
            ("docker run --rm=false -t=true --tty=0 x", "docker run -- x"),
            ("docker run --rm=1 x -p=1 --rm", "docker run --rm -- x -p=1 --rm"),
            ("docker run --net=host x", "docker run --network=host -- x"),
            ("docker run -i -- x -i", "docker run --interactive -- x -i"),
            ("docker run --no-such=1 -it x", "docker run --no-such=1 --interactive --tty -- x"),
            ("docker run -p", "docker run -p"),
            ("docker --store s run x", "docker --store=s run -- x"),
            ("docker image list -q x --filter a=b -", "docker image ls --quiet x --filter=a=b -"),
        ] {
            assert_eq!(read(line).as_deref(), Ok(plain), "{line}");
        }
        assert!(read("docker run --rm=perhaps x").unwrap_err().contains("\"perhaps\" for \"--rm\" flag"));
    }

    proptest::proptest! {
        #[test]
        fn the_containers_own_words_stay_as_they_are(words in proptest::collection::vec("[-a-z=]{1,4}", 0..5)) {
            let mut line = vec!["docker".to_owned(), "run".to_owned(), "image".to_owned()];
            line.extend(words.iter().cloned());
            let told = plain(command(), line.iter().map(OsString::from).collect()).unwrap();
            let own: Vec<_> = told.iter().skip(4).map(|word| word.to_string_lossy().into_owned()).collect();
            proptest::prop_assert_eq!(own, words);
        }
    }
}
