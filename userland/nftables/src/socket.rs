//! The door to the kernel: a transaction goes in as one message batch, its verdict comes back.
//!
//! See netlink(7), `linux/netfilter/nfnetlink.h`.

use std::io;

use netlink_sys::constants::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_send_buffer_size_force;

use crate::attribute::{Attributes, find};
use crate::transaction::{Change, Transaction};
use crate::{Family, attribute};

/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_DUMP`, and the flag of an answer with attributes behind it.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const ACK_TLVS: u16 = 0x200;

/// `NLMSG_ERROR`, `NLMSG_DONE`, `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`, `NFNL_SUBSYS_NFTABLES`
const ERROR: u16 = 2;
const DONE: u16 = 3;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFTABLES: u16 = 10;

/// `NFT_MSG_GETTABLE`, `NFT_MSG_GETSETELEM`
const GET_TABLE: u8 = 1;
const GET_ELEMENTS: u8 = 13;

/// Bytes of the head that every netlink message has.
const HEAD: usize = 16;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket itself; without CAP_NET_ADMIN it is refused, too.
    #[error("nf_tables: {0}")]
    Socket(#[from] io::Error),
    /// The kernel refused the transaction; nothing of it took effect.
    #[error("nf_tables refuses {what}: {source}{detail}")]
    Refused {
        /// The first change that it did not like.
        what: String,
        /// The kernel's error number.
        source: io::Error,
        /// What the kernel said in words, with `: ` before it; may be empty.
        detail: String,
    },
    /// The kernel sent what is no netlink message.
    #[error("nf_tables: the kernel's answer is cut short")]
    Answer,
}

/// A socket to nf_tables, in the network namespace of the thread that opened it.
pub struct Nftables {
    socket: Socket,
    sequence: u32,
}

/// A message of an answer, without its netlink head.
struct Answer {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: Vec<u8>,
}

impl Nftables {
    /// Opens it; whoever lacks CAP_NET_ADMIN is refused only by the first transaction.
    pub fn open() -> Result<Nftables, Error> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // In words what is wrong, and without our own message repeated.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        Ok(Nftables { socket, sequence: 0 })
    }

    /// Makes all changes of the transaction, or none. Blocking is harmless: the kernel has decided
    /// before the message is sent off.
    pub fn commit(&mut self, transaction: &Transaction) -> Result<(), Error> {
        let changes = &transaction.changes;
        let Some(last) = changes.len().checked_sub(1) else { return Ok(()) };
        let first = self.sequence.wrapping_add(1);
        let mut batch = Vec::new();
        self.control(&mut batch, BATCH_BEGIN);
        for (index, change) in changes.iter().enumerate() {
            // Refusals come unasked; the last change's consent says that there were none.
            let flags = REQUEST | change.flags | if index == last { ACK } else { 0 };
            self.message(&mut batch, change.message, flags, change.family, &change.attributes);
        }
        self.control(&mut batch, BATCH_END);
        self.send(&batch)?;
        self.verdict(first, changes)
    }

    /// Whether there is a table of this name.
    pub fn has_table(&mut self, family: Family, table: &str) -> Result<bool, Error> {
        let mut request = Vec::new();
        let name = Attributes::new().text(1, table);
        self.message(&mut request, GET_TABLE, REQUEST, family, &name);
        self.send(&request)?;
        let sequence = self.sequence;
        loop {
            let Some(answer) = self.receive()?.into_iter().find(|answer| answer.sequence == sequence) else {
                continue;
            };
            if answer.kind != ERROR {
                return Ok(true);
            }
            return match answer.errno() {
                Some(Errno::NOENT) => Ok(false),
                errno => Err(answer.refused(&format!("a look at table {table}"), errno)),
            };
        }
    }

    /// The keys of a set or map as the kernel keeps them, each with its value if it has one; `None`
    /// if there is no such set.
    #[allow(clippy::type_complexity)]
    pub fn elements(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
    ) -> Result<Option<Vec<(Vec<u8>, Option<Vec<u8>>)>>, Error> {
        let mut request = Vec::new();
        let names = Attributes::new().text(1, table).text(2, set);
        self.message(&mut request, GET_ELEMENTS, REQUEST | DUMP, family, &names);
        self.send(&request)?;
        let sequence = self.sequence;
        let mut found = Vec::new();
        loop {
            for answer in self.receive()?.into_iter().filter(|answer| answer.sequence == sequence) {
                match answer.kind {
                    DONE => return Ok(Some(found)),
                    ERROR => {
                        return match answer.errno() {
                            Some(Errno::NOENT) => Ok(None),
                            errno => Err(answer.refused(&format!("a look at set {set}"), errno)),
                        };
                    }
                    _ => found.extend(elements_of(answer.attributes())),
                }
            }
        }
    }

    /// Reads until the last change is answered, and keeps the first refusal.
    fn verdict(&mut self, first: u32, changes: &[Change]) -> Result<(), Error> {
        let mut refused = None;
        loop {
            for answer in self.receive()?.into_iter().filter(|answer| answer.kind == ERROR) {
                // The sequence begins with the head of the batch; its refusal is that of all.
                let index = answer.sequence.wrapping_sub(first) as usize;
                if index > changes.len() {
                    continue;
                }
                if let Some(errno) = answer.errno() {
                    let what = match index {
                        0 => "the transaction",
                        index => &changes[index - 1].what,
                    };
                    refused.get_or_insert_with(|| answer.refused(what, Some(errno)));
                }
                if index == 0 || index == changes.len() {
                    return refused.map_or(Ok(()), Err);
                }
            }
        }
    }

    fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        // A batch is one datagram, with the kernel's own overhead: about twice its length.
        const USUAL: usize = 100_000;
        if message.len() > USUAL {
            set_socket_send_buffer_size_force(&self.socket, message.len() * 2).map_err(io::Error::from)?;
        }
        let sent = self.socket.send(message, 0)?;
        if sent == message.len() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WriteZero).into()) }
    }

    fn receive(&mut self) -> Result<Vec<Answer>, Error> {
        let (datagram, _) = self.socket.recv_from_full()?;
        let mut answers = Vec::new();
        let mut left = datagram.as_slice();
        while !left.is_empty() {
            let head = left.first_chunk::<HEAD>().ok_or(Error::Answer)?;
            let number = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let length = number(0) as usize;
            answers.push(Answer {
                kind: u16::from_ne_bytes([head[4], head[5]]),
                flags: u16::from_ne_bytes([head[6], head[7]]),
                sequence: number(8),
                body: left.get(HEAD..length).ok_or(Error::Answer)?.to_vec(),
            });
            left = left.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(answers)
    }

    fn control(&mut self, batch: &mut Vec<u8>, kind: u16) {
        self.put(batch, kind, REQUEST, 0, NFTABLES, &[]);
    }

    fn message(
        &mut self,
        batch: &mut Vec<u8>,
        message: u8,
        flags: u16,
        family: Family,
        attributes: &Attributes,
    ) {
        let kind = NFTABLES << 8 | u16::from(message);
        self.put(batch, kind, flags, family as u8, 0, &attributes.clone().into_bytes());
    }

    /// `struct nlmsghdr`, `struct nfgenmsg` (family, version, resource), attributes.
    fn put(
        &mut self,
        batch: &mut Vec<u8>,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        attributes: &[u8],
    ) {
        self.sequence = self.sequence.wrapping_add(1);
        let length = (HEAD + 4 + attributes.len()) as u32;
        batch.extend_from_slice(&length.to_ne_bytes());
        batch.extend_from_slice(&kind.to_ne_bytes());
        batch.extend_from_slice(&flags.to_ne_bytes());
        batch.extend_from_slice(&self.sequence.to_ne_bytes());
        batch.extend_from_slice(&0u32.to_ne_bytes());
        batch.extend_from_slice(&[family, 0]);
        batch.extend_from_slice(&resource.to_be_bytes());
        batch.extend_from_slice(attributes);
    }
}

impl Answer {
    /// What an error message says; none is consent.
    fn errno(&self) -> Option<Errno> {
        let code = self.body.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code));
        (code != 0).then(|| Errno::from_raw_os_error(-code))
    }

    /// Behind the family, version and resource of an answer that is no error.
    fn attributes(&self) -> &[u8] {
        self.body.get(4..).unwrap_or_default()
    }

    fn refused(&self, what: &str, errno: Option<Errno>) -> Error {
        const WORDS: u16 = 1;
        // The error number, the head of our message, attributes.
        let tlvs = if self.flags & ACK_TLVS != 0 { self.body.get(4 + HEAD..) } else { None };
        let words = tlvs
            .and_then(|tlvs| find(tlvs, WORDS))
            .map(|words| format!(": {}", String::from_utf8_lossy(words).trim_end_matches('\0')));
        Error::Refused {
            what: what.to_owned(),
            source: errno.map_or_else(|| io::Error::from(io::ErrorKind::Other), io::Error::from),
            detail: words.unwrap_or_default(),
        }
    }
}

/// `NFTA_SET_ELEM_LIST_ELEMENTS`: a list of key and value, each in `NFTA_DATA_VALUE`.
fn elements_of(attributes: &[u8]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let value =
        |element: &[u8], kind: u16| find(element, kind).and_then(|data| find(data, 1)).map(<[u8]>::to_vec);
    let list = find(attributes, 3).unwrap_or_default();
    attribute::read(list).filter_map(|(_, element)| Some((value(element, 1)?, value(element, 2)))).collect()
}
