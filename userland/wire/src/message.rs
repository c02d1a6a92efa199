//! D-Bus messages as bytes: framing, header, body (D-Bus specification, "Message Format").
//!
//! The marshalling is zvariant's; a header is the type `(yyyyuua(yv))`. Invariants: a frame's length is known and
//! bounded before any of it is kept; decoding bytes from outside gives a [`Message`] or a [`Malformed`], never
//! more memory than the frame's own size and never a panic. Descriptors travel beside the bytes ([`Fds`]); the header
//! says how many.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use zvariant::serialized::{Context, Data};
use zvariant::{Endian, ObjectPath, OwnedValue, Signature, Structure, Type, Value};

/// The longest message that a peer may send, in bytes: a long list of unit names fits many times.
pub const LONGEST: usize = 4 << 20;
/// The sender wants no answer.
pub const NO_REPLY: u8 = 1;
/// The receiver is not to be started for this message.
pub const NO_AUTO_START: u8 = 2;
/// The fixed part of the header up to and with the length of the field array.
const FIXED: usize = 16;

/// Bytes that are not a D-Bus message, or a body that is not of the expected type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first byte is neither `l` nor `B`.
    #[error("message has the unknown byte order mark {0:#04x}")]
    ByteOrder(u8),
    /// Not protocol version 1.
    #[error("message has protocol version {0}, only 1 is spoken here")]
    Version(u8),
    /// Longer than [`LONGEST`].
    #[error("message of {0} bytes is longer than the {LONGEST} that are taken")]
    TooLong(u64),
    /// The header lacks what its type requires.
    #[error("message header lacks {0}")]
    Lacks(&'static str),
    /// The body is of another type.
    #[error("message body is `{got}`, expected `{expected}`")]
    Signature {
        /// What came.
        got: String,
        /// What should have come.
        expected: String,
    },
    /// zvariant says no.
    #[error("message cannot be read: {0}")]
    Marshal(String),
}

impl From<zvariant::Error> for Malformed {
    fn from(error: zvariant::Error) -> Self {
        Malformed::Marshal(error.to_string())
    }
}

/// The four types of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageType {
    /// A method call.
    Call,
    /// Its answer.
    Return,
    /// Its failure.
    Error,
    /// News for everybody.
    Signal,
}

/// A message. An empty string or zero is an absent header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: MessageType,
    /// [`NO_REPLY`] and its kin.
    pub flags: u8,
    /// The sender's number for it.
    pub serial: u32,
    /// The object.
    pub path: String,
    /// The interface.
    pub interface: String,
    /// The method or signal.
    pub member: String,
    /// The error's name.
    pub error: String,
    /// The serial that this answers.
    pub reply_serial: u32,
    /// To whom.
    pub destination: String,
    /// From whom.
    pub sender: String,
    /// The types of the body.
    pub signature: String,
    /// How many descriptors came or go with it.
    pub fd_count: u32,
    /// The descriptors.
    pub fds: Fds,
    body: Vec<u8>,
    endian: Endian,
}

impl Message {
    fn new(kind: MessageType) -> Message {
        Message {
            kind,
            flags: if kind == MessageType::Call { 0 } else { NO_REPLY },
            serial: 0,
            path: String::new(),
            interface: String::new(),
            member: String::new(),
            error: String::new(),
            reply_serial: 0,
            destination: String::new(),
            sender: String::new(),
            signature: String::new(),
            fd_count: 0,
            fds: Fds::default(),
            body: Vec::new(),
            endian: Endian::Little,
        }
    }

    /// A method call without arguments.
    pub fn call(path: &str, interface: &str, member: &str) -> Message {
        let (path, interface, member) = (path.into(), interface.into(), member.into());
        Message { path, interface, member, ..Message::new(MessageType::Call) }
    }

    /// A signal without arguments.
    pub fn signal(path: &str, interface: &str, member: &str) -> Message {
        let (path, interface, member) = (path.into(), interface.into(), member.into());
        Message { path, interface, member, ..Message::new(MessageType::Signal) }
    }

    /// An answer without values to the call of this serial.
    pub fn reply(reply_serial: u32) -> Message {
        Message { reply_serial, ..Message::new(MessageType::Return) }
    }

    /// A refusal of the call of this serial.
    pub fn refusal(reply_serial: u32, name: &str, text: &str) -> Message {
        let refusal = Message { reply_serial, error: name.into(), ..Message::new(MessageType::Error) };
        refusal.clone().with(&text).unwrap_or(refusal)
    }

    /// The same for this receiver.
    #[must_use]
    pub fn to(self, destination: &str) -> Message {
        Message { destination: destination.into(), ..self }
    }

    /// The same from this sender.
    #[must_use]
    pub fn from(self, sender: &str) -> Message {
        Message { sender: sender.into(), ..self }
    }

    /// The sender wants an answer.
    #[must_use]
    pub fn wants_reply(&self) -> bool {
        self.kind == MessageType::Call && self.flags & NO_REPLY == 0
    }

    /// The same with a body; a tuple is several arguments.
    ///
    /// # Errors
    /// The value cannot be marshalled (a string with a zero byte in it).
    pub fn with<T: Serialize + Type>(self, body: &T) -> Result<Message, Malformed> {
        self.with_body(Body::of(body)?)
    }

    /// The same with a marshalled body.
    ///
    /// # Errors
    /// None today.
    pub fn with_body(mut self, body: Body) -> Result<Message, Malformed> {
        self.signature = body.signature;
        self.body = body.bytes;
        self.endian = Endian::Little;
        Ok(self)
    }

    /// The body as values of this type.
    ///
    /// # Errors
    /// The signature is another, or the bytes are not what it says.
    pub fn body<T: DeserializeOwned + Type>(&self) -> Result<T, Malformed> {
        let expected = T::SIGNATURE.to_string_no_parens();
        if self.signature != expected {
            return Err(Malformed::Signature { got: self.signature.clone(), expected });
        }
        Ok(self.data().deserialize()?.0)
    }

    /// The body as whatever values it has.
    ///
    /// # Errors
    /// The bytes are not what the signature says.
    pub fn values(&self) -> Result<Vec<OwnedValue>, Malformed> {
        if self.signature.is_empty() {
            return Ok(Vec::new());
        }
        let signature = Signature::try_from(format!("({})", self.signature).as_str())
            .map_err(|error| Malformed::Marshal(error.to_string()))?;
        let data = self.data();
        let (structure, _) = data.deserialize_for_dynamic_signature::<_, Structure<'_>>(&signature)?;
        structure.fields().iter().map(|field| Ok(field.try_to_owned()?)).collect()
    }

    /// The body and the descriptors that it speaks of.
    fn data(&self) -> Data<'_, '_> {
        let fds = self.fds.iter().filter_map(|fd| fd.try_clone().ok());
        Data::new_fds(self.body.as_slice(), Context::new_dbus(self.endian, 0), fds)
    }

    /// The bytes to send.
    ///
    /// # Errors
    /// A header field cannot be marshalled (a path that is none).
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let mut fields: Vec<(u8, Field<'_>)> = Vec::with_capacity(6);
        if !self.path.is_empty() {
            fields.push((1, Field::Value(ObjectPath::try_from(self.path.as_str())?.into())));
        }
        let text = [
            (2, &self.interface),
            (3, &self.member),
            (4, &self.error),
            (6, &self.destination),
            (7, &self.sender),
        ];
        fields.extend(
            text.into_iter()
                .filter(|(_, text)| !text.is_empty())
                .map(|(code, text)| (code, Field::Value(text.as_str().into()))),
        );
        if self.reply_serial != 0 {
            fields.push((5, Field::Value(self.reply_serial.into())));
        }
        if !self.signature.is_empty() {
            fields.push((8, Field::Signature(&self.signature)));
        }
        let fd_count = self.fds.iter().count() as u32;
        if fd_count != 0 {
            fields.push((9, Field::Value(fd_count.into())));
        }
        let kind = match self.kind {
            MessageType::Call => 1u8,
            MessageType::Return => 2,
            MessageType::Error => 3,
            MessageType::Signal => 4,
        };
        let mark = if self.endian == Endian::Big { b'B' } else { b'l' };
        let length =
            u32::try_from(self.body.len()).map_err(|_| Malformed::TooLong(self.body.len() as u64))?;
        let header = (mark, kind, self.flags, 1u8, length, self.serial, fields);
        let mut bytes = zvariant::to_bytes(Context::new_dbus(self.endian, 0), &header)?.bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend_from_slice(&self.body);
        Ok(bytes)
    }

    /// How many bytes the message at the start of `bytes` has; `None` while its fixed part is incomplete.
    ///
    /// # Errors
    /// It is no message, or one that is too long.
    pub fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let Some((fixed, _)) = bytes.split_first_chunk::<FIXED>() else {
            return match bytes.first() {
                Some(mark) if !matches!(mark, b'l' | b'B') => Err(Malformed::ByteOrder(*mark)),
                _ => Ok(None),
            };
        };
        let number = |at: usize| {
            let four = [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
            u64::from(if fixed[0] == b'B' { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
        };
        if !matches!(fixed[0], b'l' | b'B') {
            return Err(Malformed::ByteOrder(fixed[0]));
        }
        if fixed[3] != 1 {
            return Err(Malformed::Version(fixed[3]));
        }
        let length = (FIXED as u64 + number(12)).next_multiple_of(8) + number(4);
        if length > LONGEST as u64 {
            return Err(Malformed::TooLong(length));
        }
        Ok(Some(length as usize))
    }

    /// Reads one whole message, of the length that [`Message::length`] told. `None`: a type from a later version
    /// of the protocol, to be ignored.
    ///
    /// # Errors
    /// The header is malformed. The body is looked at when it is asked for.
    pub fn decode(frame: &[u8]) -> Result<Option<Message>, Malformed> {
        type Header = (u8, u8, u8, u8, u32, u32, Vec<(u8, OwnedValue)>);
        let endian = if frame.first() == Some(&b'B') { Endian::Big } else { Endian::Little };
        let data = Data::new(frame, Context::new_dbus(endian, 0));
        let ((_, kind, flags, _, length, serial, fields), _): (Header, usize) = data.deserialize()?;
        let kind = match kind {
            1 => MessageType::Call,
            2 => MessageType::Return,
            3 => MessageType::Error,
            4 => MessageType::Signal,
            0 => return Err(Malformed::Lacks("a type")),
            _ => return Ok(None),
        };
        let start = frame.len().checked_sub(length as usize).ok_or(Malformed::Lacks("its body"))?;
        let body = frame.get(start..).unwrap_or_default().to_vec();
        let mut message = Message { flags, serial, body, endian, ..Message::new(kind) };
        for (code, value) in fields {
            match (code, &*value) {
                (1, Value::ObjectPath(path)) => message.path = path.to_string(),
                (2, Value::Str(text)) => message.interface = text.to_string(),
                (3, Value::Str(text)) => message.member = text.to_string(),
                (4, Value::Str(text)) => message.error = text.to_string(),
                (5, Value::U32(number)) => message.reply_serial = *number,
                (6, Value::Str(text)) => message.destination = text.to_string(),
                (7, Value::Str(text)) => message.sender = text.to_string(),
                (8, Value::Signature(signature)) => message.signature = signature.to_string_no_parens(),
                (9, Value::U32(count)) => message.fd_count = *count,
                (1..=9, _) => return Err(Malformed::Lacks("a field of the right type")),
                _ => {}
            }
        }
        match kind {
            _ if serial == 0 => Err(Malformed::Lacks("a serial")),
            MessageType::Call if message.path.is_empty() || message.member.is_empty() => {
                Err(Malformed::Lacks("a path and a member"))
            }
            MessageType::Return | MessageType::Error if message.reply_serial == 0 => {
                Err(Malformed::Lacks("the serial that it answers"))
            }
            _ => Ok(Some(message)),
        }
    }
}

/// Descriptors on their way. Cheap to clone; closed with the last clone.
#[derive(Debug, Clone, Default)]
pub struct Fds(Vec<Arc<OwnedFd>>);

impl Fds {
    /// These.
    pub fn new(fds: impl IntoIterator<Item = OwnedFd>) -> Fds {
        Fds(fds.into_iter().map(Arc::new).collect())
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<OwnedFd>> {
        self.0.iter()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Fds {
    fn eq(&self, other: &Fds) -> bool {
        self.0.iter().map(|fd| fd.as_raw_fd()).eq(other.0.iter().map(|fd| fd.as_raw_fd()))
    }
}

impl Eq for Fds {}

/// The value of a header field.
enum Field<'a> {
    Value(Value<'a>),
    /// Of the body: several types in a row, which zvariant would write as one struct, in parentheses.
    Signature(&'a str),
}

impl Type for Field<'_> {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Field::Value(value) => value.serialize(serializer),
            Field::Signature(types) => {
                let mut variant = serializer.serialize_struct("Variant", 2)?;
                variant.serialize_field("signature", &Signature::Signature)?;
                variant.serialize_field("value", types)?;
                variant.end()
            }
        }
    }
}

/// A marshalled body with its signature.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    signature: String,
    bytes: Vec<u8>,
}

impl Body {
    /// No values.
    pub const EMPTY: Body = Body { signature: String::new(), bytes: Vec::new() };

    /// Marshals a value; a tuple is several arguments.
    ///
    /// # Errors
    /// A string holds a zero byte.
    pub fn of<T: Serialize + Type>(value: &T) -> Result<Body, Malformed> {
        let data = zvariant::to_bytes(Context::new_dbus(Endian::Little, 0), value)?;
        Ok(Body { signature: T::SIGNATURE.to_string_no_parens(), bytes: data.bytes().to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_call_survives_the_trip() {
        let mut call =
            Message::call("/org/x", "org.x.Y", "StartUnit").with(&("a.service", "replace")).unwrap();
        call.serial = 7;
        let bytes = call.encode().unwrap();
        assert_eq!(Message::length(&bytes), Ok(Some(bytes.len())));
        assert!(
            bytes.windows(6).any(|part| part == b"\x01g\0\x02ss"),
            "the signature goes without parentheses"
        );
        assert_eq!(Message::length(&bytes[..15]), Ok(None));
        let back = Message::decode(&bytes).unwrap().unwrap();
        assert_eq!(back, call);
        assert_eq!(back.body::<(String, String)>().unwrap(), ("a.service".into(), "replace".into()));
    }

    #[test]
    fn the_body_must_be_of_the_type_that_was_asked_for() {
        let call = Message::call("/", "a.b", "C").with(&"text").unwrap();
        assert_eq!(call.signature, "s");
        assert!(matches!(call.body::<u32>(), Err(Malformed::Signature { .. })));
    }

    #[test]
    fn bad_frames_are_refused_before_their_bytes_are_kept() {
        assert_eq!(Message::length(b"X"), Err(Malformed::ByteOrder(b'X')));
        let mut head = [0u8; 16];
        head[0] = b'l';
        assert_eq!(Message::length(&head), Err(Malformed::Version(0)));
        head[3] = 1;
        head[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Message::length(&head), Err(Malformed::TooLong(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Message::length(&bytes);
            if let Ok(Some(message)) = Message::decode(&bytes) {
                let _ = message.body::<(String, Vec<String>)>();
                let _ = message.body::<OwnedValue>();
            }
        }

        #[test]
        fn a_flipped_byte_never_panics(at in 0usize..120, to in any::<u8>()) {
            let mut call = Message::call("/org/x", "org.x.Y", "Z").to("a.b").with(&("a", vec!["b", "c"], Value::from(3u32))).unwrap();
            call.serial = 1;
            let mut bytes = call.encode().unwrap();
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = Message::length(&bytes);
            if let Ok(Some(message)) = Message::decode(&bytes) {
                let _ = message.body::<(String, Vec<String>, OwnedValue)>();
            }
        }
    }
}
