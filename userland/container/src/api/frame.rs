//! What goes over `attach.sock`, between a container's supervisor and its clients.
//!
//! A frame has the header that Docker gives to multiplexed streams: kind, three zeros, the length in four bytes
//! (big-endian). So frames of output pass through to a client of the API as they are. A client says hello first.

use std::io::{self, Read};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Nothing longer is sent or taken.
const LONGEST: usize = 1 << 20;

/// Bytes for the container's input.
pub const STDIN: u8 = 0;
/// Bytes of the container's output.
pub const STDOUT: u8 = 1;
/// Bytes of its error output.
pub const STDERR: u8 = 2;
/// The client has no more input.
pub const CLOSE: u8 = 3;
/// The terminal has another size: rows and columns, two bytes each, big-endian.
pub const RESIZE: u8 = 4;
/// The first of a client: one byte, [`WANT_STDOUT`] and its like.
pub const HELLO: u8 = 5;
/// All who came early are here: the container may start.
pub const START: u8 = 6;
/// It has started.
pub const STARTED: u8 = 7;
/// It has not: exit status in one byte, then why.
pub const FAILED: u8 = 8;
/// It ended, with this status as text.
pub const EXITED: u8 = 9;

/// In the hello: standard output.
pub const WANT_STDOUT: u8 = 1;
/// In the hello: standard error.
pub const WANT_STDERR: u8 = 2;
/// In the hello: will send input.
pub const WANT_STDIN: u8 = 4;

/// A frame as it is sent.
#[must_use]
pub fn encode(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(8 + bytes.len());
    frame.extend([kind, 0, 0, 0]);
    frame.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend(bytes);
    frame
}

fn length(header: [u8; 8]) -> io::Result<(u8, usize)> {
    let [kind, _, _, _, length @ ..] = header;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame of more than 1 MiB"));
    }
    Ok((kind, length))
}

/// Reads a frame; none at the end of the stream.
///
/// # Errors
/// When it is torn or too long.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut header = [0; 8];
    match from.read_exact(&mut header).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let (kind, length) = length(header)?;
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    Ok(Some((kind, bytes)))
}

/// The same on a blocking stream.
///
/// # Errors
/// The same; at the end, too.
pub fn read_blocking(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 8];
    from.read_exact(&mut header)?;
    let (kind, length) = length(header)?;
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok((kind, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_long_ones_are_refused() {
        let mut bytes = encode(STDOUT, b"hello");
        assert_eq!(bytes.get(..8).unwrap(), [1, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(read_blocking(&mut bytes.as_slice()).unwrap(), (STDOUT, b"hello".to_vec()));
        bytes.truncate(10);
        assert!(read_blocking(&mut bytes.as_slice()).is_err());
        assert!(read_blocking(&mut [1, 0, 0, 0, 0xff, 0, 0, 0].as_slice()).is_err());
    }
}
