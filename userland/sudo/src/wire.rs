//! Messages with descriptors on a Unix socket.
//!
//! Source: unix(7), SCM_RIGHTS. A message is its length and its bytes; descriptors come with the first.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// The most descriptors of a message.
const DESCRIPTORS: usize = 3;

/// Sends a message.
pub(crate) fn send(mut socket: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?.to_be_bytes();
    let message = [&length, bytes].concat();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for a message"));
    }
    let sent = sendmsg(socket, &[IoSlice::new(&message)], &mut ancillary, SendFlags::NOSIGNAL)?;
    socket.write_all(message.get(sent..).unwrap_or_default())
}

/// Receives a message of at most `most` bytes, with its descriptors. None: the other side has gone.
pub(crate) fn receive(mut socket: &UnixStream, most: usize) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut length)], &mut ancillary, flags)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    socket.read_exact(length.get_mut(received.bytes..).unwrap_or_default())?;
    let length = u32::from_be_bytes(length) as usize;
    if length > most {
        return Err(io::Error::other(format!("a message of {length} bytes; at most {most} are taken")));
    }
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes)?;
    Ok(Some((bytes, descriptors)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn descriptors_arrive_with_their_message() {
        let (one, other) = UnixStream::pair().unwrap();
        let (read, write) = std::io::pipe().unwrap();
        send(&one, b"hello", &[write.as_fd()]).unwrap();
        send(&one, b"", &[]).unwrap();
        drop(write);
        let (bytes, mut descriptors) = receive(&other, 5).unwrap().unwrap();
        assert_eq!(bytes, b"hello");
        let mut copy = std::fs::File::from(descriptors.remove(0));
        copy.write_all(b"through").unwrap();
        drop(copy);
        assert_eq!(io::read_to_string(read).unwrap(), "through");
        assert_eq!(receive(&other, 5).unwrap().unwrap().0, b"");
        drop(one);
        assert!(receive(&other, 5).unwrap().is_none());
    }

    #[test]
    fn a_message_that_is_too_long_is_not_taken() {
        let (mut one, other) = UnixStream::pair().unwrap();
        one.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(receive(&other, 1024).is_err());
    }
}
