//! What the client asks for, and what it is told: the messages on the socket.
//!
//! A message is four bytes of length, big-endian, and as many bytes; a request is a list of such strings.
//! Descriptors travel with the first byte: three with a request, at most one with an answer.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// The most bytes of a request.
pub(crate) const MOST: usize = 256 << 10;

/// What is to be run, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Request {
    /// As whom: a name, or `#` and a number.
    pub(crate) user: OsString,
    /// What kind of thing to run.
    pub(crate) kind: Kind,
    /// Whether a terminal is wanted for those of the descriptors that are one.
    pub(crate) terminal: bool,
    /// Whether the client's environment is kept.
    pub(crate) keep: bool,
    /// The folder to start in.
    pub(crate) folder: OsString,
    /// The client's environment, then the variables of the command line, each `NAME=value`.
    pub(crate) environment: Vec<OsString>,
    /// The variables of the command line.
    pub(crate) variables: Vec<OsString>,
    /// The command and its arguments; may be empty for a shell.
    pub(crate) command: Vec<OsString>,
}

/// A kind of thing to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// The command itself.
    #[default]
    Command,
    /// A login shell, with the command if there is one.
    Login,
    /// A shell, with the command if there is one.
    Shell,
    /// Nothing: only whether it may be.
    Check,
}

/// A request that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the request is not well formed")]
pub(crate) struct Malformed;

impl Request {
    /// The request as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Command => "command",
            Kind::Login => "login",
            Kind::Shell => "shell",
            Kind::Check => "check",
        };
        let flag = |is: bool| OsString::from(if is { "1" } else { "0" });
        let mut strings =
            vec![self.user.clone(), kind.into(), flag(self.terminal), flag(self.keep), self.folder.clone()];
        for list in [&self.environment, &self.variables, &self.command] {
            strings.push(list.len().to_string().into());
            strings.extend(list.iter().cloned());
        }
        let mut bytes = Vec::new();
        for string in strings {
            let string = string.into_vec();
            bytes.extend(u32::try_from(string.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend(string);
        }
        bytes
    }

    /// The request in these bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Request, Malformed> {
        let mut rest = bytes;
        let request = Request {
            user: string(&mut rest)?,
            kind: match string(&mut rest)?.to_str() {
                Some("command") => Kind::Command,
                Some("login") => Kind::Login,
                Some("shell") => Kind::Shell,
                Some("check") => Kind::Check,
                _ => return Err(Malformed),
            },
            terminal: string(&mut rest)? == "1",
            keep: string(&mut rest)? == "1",
            folder: string(&mut rest)?,
            environment: list(&mut rest)?,
            variables: list(&mut rest)?,
            command: list(&mut rest)?,
        };
        if rest.is_empty() { Ok(request) } else { Err(Malformed) }
    }
}

fn string(rest: &mut &[u8]) -> Result<OsString, Malformed> {
    let (length, after) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
    let (string, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(Malformed)?;
    *rest = after;
    // No string that goes to the kernel may hold a zero.
    if string.contains(&0) { Err(Malformed) } else { Ok(OsString::from_vec(string.to_vec())) }
}

fn list(rest: &mut &[u8]) -> Result<Vec<OsString>, Malformed> {
    let length: usize = string(rest)?.to_str().and_then(|text| text.parse().ok()).ok_or(Malformed)?;
    (0..length).map(|_| string(rest)).collect()
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It runs; a terminal's other end may come with this.
    Runs,
    /// It will not be run.
    Refused(String),
    /// It has ended, with this exit status as a shell counts.
    Ended(u8),
}

impl Answer {
    /// The answer as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Answer::Runs => b"R".to_vec(),
            Answer::Refused(why) => [b"F", why.as_bytes()].concat(),
            Answer::Ended(code) => vec![b'X', *code],
        }
    }

    /// The answer in these bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Answer, Malformed> {
        match bytes {
            [b'R'] => Ok(Answer::Runs),
            [b'F', why @ ..] => Ok(Answer::Refused(String::from_utf8_lossy(why).into_owned())),
            [b'X', code] => Ok(Answer::Ended(*code)),
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        let request = Request {
            user: "root".into(),
            kind: Kind::Login,
            terminal: true,
            keep: false,
            folder: "/tmp/a b".into(),
            environment: vec!["A=1".into(), "B=".into()],
            variables: vec![],
            command: vec!["ls".into(), OsString::from_vec(vec![0xff, b'x']), "".into()],
        };
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }

    #[test]
    fn zeros_and_torn_requests_are_refused() {
        let whole = Request { command: vec!["ls".into()], ..Request::default() }.encode();
        for length in 0..whole.len() {
            assert_eq!(Request::decode(&whole[..length]), Err(Malformed));
        }
        let zero = Request { command: vec![OsString::from_vec(vec![0])], ..Request::default() };
        assert_eq!(Request::decode(&zero.encode()), Err(Malformed));
    }

    #[test]
    fn answers_arrive_as_they_were_sent() {
        for answer in [Answer::Runs, Answer::Refused("no".into()), Answer::Ended(42)] {
            assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
        assert_eq!(Answer::decode(b""), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_failing(bytes: Vec<u8>) {
            let _ = Request::decode(&bytes);
            let _ = Answer::decode(&bytes);
        }
    }
}
