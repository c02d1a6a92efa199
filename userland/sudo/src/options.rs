//! The command line of `sudo`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

/// Run a command as root, or as another user.
///
/// Whoever is in the group sudo or wheel may, without a password. Variables for the command can be given in
/// front of it, as NAME=VALUE.
#[derive(Debug, Parser)]
#[command(name = "sudo", version, disable_help_flag = true)]
pub(crate) struct Options {
    /// Run as this user, by name or as #NUMBER
    #[arg(short, long, value_name = "USER", default_value = "root")]
    pub(crate) user: String,
    /// Start the user's login shell, in the user's home
    #[arg(short = 'i', long)]
    pub(crate) login: bool,
    /// Start a shell
    #[arg(short, long)]
    pub(crate) shell: bool,
    /// Keep the environment
    #[arg(short = 'E', long)]
    pub(crate) preserve_env: bool,
    /// Start in this folder
    #[arg(short = 'D', long, value_name = "FOLDER")]
    pub(crate) chdir: Option<PathBuf>,
    /// Say what may be run
    #[arg(short, long)]
    pub(crate) list: bool,
    /// Never ask for anything: it never does
    #[arg(short, long)]
    pub(crate) non_interactive: bool,
    /// Set HOME to the user's: it always does, but with -E
    #[arg(short = 'H', long)]
    pub(crate) set_home: bool,
    /// Only see whether a command could be run
    #[arg(short, long)]
    pub(crate) validate: bool,
    /// Accepted for compatibility: there is no password to forget
    #[arg(short = 'k', long)]
    pub(crate) reset_timestamp: bool,
    /// Accepted for compatibility: there is no password to forget
    #[arg(short = 'K', long)]
    pub(crate) remove_timestamp: bool,
    /// Accepted for compatibility: no password is read
    #[arg(short = 'S', long)]
    pub(crate) stdin: bool,
    /// Show this help
    #[arg(short = 'h', long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Where sudod listens
    #[arg(long, hide = true, value_name = "SOCKET", default_value = crate::SOCKET)]
    pub(crate) socket: PathBuf,
    /// Variables, the command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

impl Options {
    /// Takes the variables off the front of the command.
    pub(crate) fn take_variables(&mut self) -> Vec<OsString> {
        let is_variable = |word: &OsString| {
            let bytes = word.as_encoded_bytes();
            let name = bytes.split(|byte| *byte == b'=').next().unwrap_or_default();
            name.len() < bytes.len()
                && !name.is_empty()
                && !name.iter().any(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
        };
        let count = self.command.iter().take_while(|word| is_variable(word)).count();
        self.command.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &[&str]) -> Options {
        Options::try_parse_from([&["sudo"], words].concat()).unwrap()
    }

    #[test]
    fn options_end_where_the_command_begins() {
        Options::command().debug_assert();
        let options = parse(&["-u", "core", "-n", "ls", "-l", "--help", "-u", "x"]);
        assert_eq!(options.user, "core");
        assert_eq!(options.command, ["ls", "-l", "--help", "-u", "x"]);
        assert_eq!(parse(&["--", "-odd"]).command, ["-odd"]);
        assert!(parse(&["-iu", "core"]).login);
    }

    #[test]
    fn variables_come_before_the_command() {
        let mut options = parse(&["A=1", "_B2=x=y", "env", "C=3"]);
        assert_eq!(options.take_variables(), ["A=1", "_B2=x=y"]);
        assert_eq!(options.command, ["env", "C=3"]);
        assert!(parse(&["./a=b"]).take_variables().is_empty());
    }
}
