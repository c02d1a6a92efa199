//! The SASL handshake before the first message (D-Bus specification, "Authentication Protocol").
//!
//! One mechanism: EXTERNAL, with the uid that the kernel vouches for. `systemctl` sends the whole of its side in
//! one go, and so does our own [`Greeting`]; [`Handshake::step`] answers every complete line there is and leaves
//! what follows `BEGIN` alone.
//! Invariants: at most [`LONGEST`] bytes and [`MOST_LINES`] lines before `BEGIN`.

/// The longest line, in bytes.
pub const LONGEST: usize = 1024;
/// The most lines that a client may use up.
pub const MOST_LINES: u32 = 32;

/// Why a client was turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The first byte must be zero.
    #[error("the handshake does not begin with a zero byte")]
    NoZeroByte,
    /// Too long a line, or too many.
    #[error("the handshake is too long")]
    TooLong,
    /// BEGIN without OK.
    #[error("BEGIN before authentication")]
    Early,
    /// The server does not let us in.
    #[error("the server answers {0:?}")]
    Refused(String),
}

/// Where a handshake stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    ZeroByte,
    Auth,
    Data,
    Begin,
}

/// The server's side of one handshake.
#[derive(Debug)]
pub struct Handshake {
    stage: Stage,
    uid: u32,
    lines: u32,
}

/// What a step came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// How many bytes of the input were used up.
    pub used: usize,
    /// What to send.
    pub answer: String,
    /// Messages follow.
    pub done: bool,
}

impl Handshake {
    /// With a client of this uid.
    pub fn new(uid: u32) -> Handshake {
        Handshake { stage: Stage::ZeroByte, uid, lines: 0 }
    }

    /// Answers all complete lines of `input`. `guid`: the server's 32 hex digits.
    ///
    /// # Errors
    /// The client breaks the protocol: close the connection.
    pub fn step(&mut self, input: &[u8], guid: &str) -> Result<Step, Rejected> {
        let mut step = Step { used: 0, answer: String::new(), done: false };
        if self.stage == Stage::ZeroByte {
            match input.first() {
                None => return Ok(step),
                Some(0) => step.used = 1,
                Some(_) => return Err(Rejected::NoZeroByte),
            }
            self.stage = Stage::Auth;
        }
        while let Some(rest) = input.get(step.used..).filter(|rest| !rest.is_empty()) {
            let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
                return if rest.len() > LONGEST { Err(Rejected::TooLong) } else { Ok(step) };
            };
            self.lines += 1;
            if end > LONGEST || self.lines > MOST_LINES {
                return Err(Rejected::TooLong);
            }
            let line = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
            step.used += end + 2;
            if self.line(&line, guid, &mut step.answer)? {
                step.done = true;
                return Ok(step);
            }
        }
        Ok(step)
    }

    fn line(&mut self, line: &str, guid: &str, answer: &mut String) -> Result<bool, Rejected> {
        let mut words = line.split(' ');
        let words = (words.next().unwrap_or_default(), words.next(), words.next());
        match (self.stage, words) {
            (Stage::Auth, ("AUTH", Some("EXTERNAL"), None)) => {
                self.stage = Stage::Data;
                answer.push_str("DATA\r\n");
            }
            (Stage::Auth, ("AUTH", Some("EXTERNAL"), Some(identity))) => {
                self.identify(identity, guid, answer)
            }
            (Stage::Data, ("DATA", identity, _)) => self.identify(identity.unwrap_or_default(), guid, answer),
            (Stage::Begin, ("NEGOTIATE_UNIX_FD", ..)) => answer.push_str("AGREE_UNIX_FD\r\n"),
            (Stage::Begin, ("BEGIN", ..)) => return Ok(true),
            (_, ("BEGIN", ..)) => return Err(Rejected::Early),
            (_, ("AUTH" | "CANCEL" | "ERROR", ..)) => {
                self.stage = Stage::Auth;
                answer.push_str("REJECTED EXTERNAL\r\n");
            }
            _ => answer.push_str("ERROR\r\n"),
        }
        Ok(false)
    }

    /// The identity is the uid in decimal, its digits in hex; empty: whoever the kernel says.
    fn identify(&mut self, identity: &str, guid: &str, answer: &mut String) {
        let claimed = hex(&self.uid.to_string());
        if identity.is_empty() || identity.eq_ignore_ascii_case(&claimed) {
            self.stage = Stage::Begin;
            answer.push_str(&format!("OK {guid}\r\n"));
        } else {
            self.stage = Stage::Auth;
            answer.push_str("REJECTED EXTERNAL\r\n");
        }
    }
}

/// The client's side of one handshake: everything was said with [`Greeting::ALL`], three lines come back.
#[derive(Debug, Default)]
pub struct Greeting {
    lines: u32,
}

impl Greeting {
    /// What the client says.
    pub const ALL: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";

    /// Takes in all complete lines of `input`.
    ///
    /// # Errors
    /// The server does not let us in.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Rejected> {
        let mut step = Step { used: 0, answer: String::new(), done: false };
        while !step.done {
            let rest = input.get(step.used..).unwrap_or_default();
            let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
                return if rest.len() > LONGEST { Err(Rejected::TooLong) } else { Ok(step) };
            };
            let line = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
            step.used += end + 2;
            let expected = ["DATA", "OK ", ""].get(self.lines as usize).copied().unwrap_or_default();
            if !line.starts_with(expected) {
                return Err(Rejected::Refused(line));
            }
            self.lines += 1;
            step.done = self.lines == 3;
        }
        Ok(step)
    }
}

/// The bytes of a text as lower-case hex digits.
pub fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GUID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn systemctl_says_all_at_once() {
        let mut handshake = Handshake::new(0);
        let input = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\nl\x01";
        let step = handshake.step(input, GUID).unwrap();
        assert!(step.done);
        assert_eq!(input.len() - step.used, 2);
        assert!(step.answer.starts_with(&format!("DATA\r\nOK {GUID}\r\nAGREE_UNIX_FD\r\n")));
    }

    #[test]
    fn both_sides_understand_each_other() {
        let said = Handshake::new(0).step(Greeting::ALL, GUID).unwrap();
        assert!(said.done);
        let mut greeting = Greeting::default();
        assert!(greeting.step(said.answer.as_bytes()).unwrap().done);
        assert!(matches!(Greeting::default().step(b"REJECTED EXTERNAL\r\n"), Err(Rejected::Refused(_))));
    }

    #[test]
    fn a_byte_at_a_time_is_as_good() {
        let mut handshake = Handshake::new(1000);
        let mut pending = Vec::new();
        let mut answers = String::new();
        let mut done = false;
        for byte in b"\0AUTH EXTERNAL 31303030\r\nBEGIN\r\n" {
            pending.push(*byte);
            let step = handshake.step(&pending, GUID).unwrap();
            pending.drain(..step.used);
            answers.push_str(&step.answer);
            done |= step.done;
        }
        assert!(done && pending.is_empty());
        assert_eq!(answers, format!("OK {GUID}\r\n"));
    }

    #[test]
    fn a_uid_that_is_not_the_callers_is_rejected() {
        let step = Handshake::new(1000).step(b"\0AUTH EXTERNAL 30\r\n", GUID).unwrap();
        assert_eq!(step.answer, "REJECTED EXTERNAL\r\n");
        assert_eq!(Handshake::new(0).step(b"\0BEGIN\r\n", GUID), Err(Rejected::Early));
        assert_eq!(Handshake::new(0).step(b"GET / HTTP/1.0\r\n", GUID), Err(Rejected::NoZeroByte));
        assert_eq!(
            Handshake::new(0).step(&[&[0u8][..], &[b'A'; 2000]].concat(), GUID),
            Err(Rejected::TooLong)
        );
        assert_eq!(
            Handshake::new(0).step(&[&[0u8][..], &b"X\r\n".repeat(40)].concat(), GUID),
            Err(Rejected::TooLong)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            if let Ok(step) = Handshake::new(0).step(&bytes, GUID) {
                prop_assert!(step.used <= bytes.len());
            }
        }
    }
}
