//! A network between machines: a switch of UDP datagrams on the loopback, to which each machine has a plug.
//!
//! What one machine sends, all others hear, as on an old hub. A machine that is switched off is not missed, and none
//! is special: QEMU's own sockets between two machines would end with the one that listens.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Result;
use crate::error::At;

/// How often the switch looks whether it shall end.
const POLL: Duration = Duration::from_millis(200);
/// Bytes of the largest frame that QEMU sends (virtio-net with segmentation offload).
const FRAME: usize = 1 << 17;

/// A switch with its machines. It ends with this.
#[derive(Debug)]
pub struct Network {
    port: u16,
    plugs: Arc<Mutex<Vec<u16>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A machine's place in a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plug {
    /// The switch's port.
    pub switch: u16,
    /// The machine's.
    pub port: u16,
    /// From 1.
    pub number: u8,
}

impl Plug {
    /// The machine's address in the network, which is 10.9.0.0/24. Who sets it is the guest.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 9, 0, self.number)
    }

    /// The hardware address of its link, which is the guest's second.
    pub fn hardware_address(&self) -> String {
        format!("52:54:00:0a:09:{:02x}", self.number)
    }
}

impl Network {
    /// A switch without machines.
    ///
    /// # Errors
    /// When the loopback has no port for it.
    pub fn new() -> Result<Network> {
        let (socket, port) = socket()?;
        socket.set_read_timeout(Some(POLL)).at("set up", Path::new("a UDP socket"))?;
        let (plugs, end) = (Arc::new(Mutex::default()), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (plugs, end) = (plugs.clone(), end.clone());
            move || switch(&socket, &plugs, &end)
        });
        Ok(Network { port, plugs, end, thread: Some(thread) })
    }

    /// A place for one more machine. It keeps it over a power cut.
    ///
    /// # Errors
    /// When the loopback has no port for it.
    pub fn plug(&self) -> Result<Plug> {
        let port = socket()?.1;
        let mut plugs = self.plugs.lock().unwrap_or_else(PoisonError::into_inner);
        plugs.push(port);
        Ok(Plug { switch: self.port, port, number: u8::try_from(plugs.len()).unwrap_or(u8::MAX) })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn socket() -> Result<(UdpSocket, u16)> {
    let path = Path::new("a UDP port of 127.0.0.1");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).at("bind", path)?;
    let port = socket.local_addr().at("bind", path)?.port();
    Ok((socket, port))
}

fn switch(socket: &UdpSocket, plugs: &Mutex<Vec<u16>>, end: &AtomicBool) {
    let mut frame = vec![0; FRAME];
    while !end.load(Ordering::Relaxed) {
        let (length, from) = match socket.recv_from(&mut frame) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => continue,
        };
        let plugs = plugs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !plugs.contains(&from.port()) {
            continue;
        }
        for port in plugs.into_iter().filter(|port| *port != from.port()) {
            // A machine that is off hears nothing.
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let _ = socket.send_to(frame.get(..length).unwrap_or_default(), to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_sends_the_others_hear() -> Result<()> {
        let network = Network::new()?;
        let plugs = [network.plug()?, network.plug()?, network.plug()?];
        assert_eq!(plugs[2].address(), Ipv4Addr::new(10, 9, 0, 3));
        let sockets = plugs.map(|plug| UdpSocket::bind((Ipv4Addr::LOCALHOST, plug.port)).expect("its port"));
        sockets[0].send_to(b"frame", (Ipv4Addr::LOCALHOST, network.port)).expect("sent");
        let mut heard = [0; 16];
        for socket in &sockets[1..] {
            socket.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
            let (length, _) = socket.recv_from(&mut heard).expect("it comes");
            assert_eq!(&heard[..length], b"frame");
        }
        sockets[0].set_nonblocking(true).expect("set");
        assert!(sockets[0].recv_from(&mut heard).is_err(), "it hears itself");
        Ok(())
    }
}
