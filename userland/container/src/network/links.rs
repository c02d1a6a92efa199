//! A bridge for a network, and a cable from it into a container.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use ipnet::{IpNet, Ipv4Net};
use netlink::link::{self, Address, CableEnd, Link, Prefix, Route};
use netlink::{Error, Netlink};
use netlink_packet_route::route::RouteProtocol;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Attachment, Definition, NetworkError};

/// Lays a cable from the network's bridge, which is made if need be, into the namespace. Returns the
/// index of our end.
pub fn connect(
    network: &Definition,
    attachment: &Attachment,
    namespace: BorrowedFd<'_>,
) -> Result<u32, NetworkError> {
    let mut netlink = Netlink::open().map_err(failed("netlink"))?;
    let bridge = bridge(&mut netlink, network)?;
    // What a killed runtime left under this name.
    if let Ok(Some(old)) = link::find(&mut netlink, &attachment.link) {
        remove_index(&mut netlink, old.index);
    }
    let mtu = network.mtu;
    let ours = CableEnd { name: &attachment.link, mac: None, mtu, namespace: None };
    let theirs =
        CableEnd { name: &attachment.inner, mac: Some(attachment.mac), mtu, namespace: Some(namespace) };
    let what = format!("cable {} into the container", attachment.link);
    link::add_cable(&mut netlink, ours, theirs).map_err(failed(&what))?;
    let ours = found(&mut netlink, &attachment.link)?;
    let done = link::plug(&mut netlink, ours.index, bridge)
        .and_then(|()| link::set_up(&mut netlink, ours.index, true))
        .map_err(failed(&what))
        .and_then(|()| inside(namespace, attachment));
    if let Err(error) = done {
        remove_index(&mut netlink, ours.index);
        return Err(error);
    }
    Ok(ours.index)
}

/// Removes our end of a cable, and with it the other.
pub fn remove(index: u32) {
    if let Ok(mut netlink) = Netlink::open() {
        remove_index(&mut netlink, index);
    }
}

/// Removes the machine's end of a container's cable, if it is there.
pub fn remove_cable(attachment: &Attachment) -> Result<(), NetworkError> {
    remove_named("cable", &attachment.link)
}

/// Removes the bridge of a network, if it was ever made.
pub fn remove_bridge(network: &Definition) -> Result<(), NetworkError> {
    remove_named("bridge", &network.bridge)
}

fn remove_named(what: &str, name: &str) -> Result<(), NetworkError> {
    let what = format!("{what} {name}");
    let mut netlink = Netlink::open().map_err(failed(&what))?;
    match link::find(&mut netlink, name).map_err(failed(&what))? {
        Some(link) => link::remove(&mut netlink, link.index).map_err(failed(&what)),
        None => Ok(()),
    }
}

/// The bridge's index. It is up and has its address, whatever it was before.
fn bridge(netlink: &mut Netlink, network: &Definition) -> Result<u32, NetworkError> {
    let name = network.bridge.as_str();
    let failed = || failed(&format!("bridge {name}"));
    match link::add_bridge(netlink, name) {
        Err(error) if !error.already_exists() => return Err(failed()(error)),
        _ => {}
    }
    let index = found(netlink, name)?.index;
    if let Some(mtu) = network.mtu {
        link::set_mtu(netlink, index, mtu).map_err(failed())?;
    }
    let address = Ipv4Net::new(network.gateway, network.subnet.prefix_len()).unwrap_or(network.subnet);
    add_address(netlink, index, address).map_err(failed())?;
    link::set_up(netlink, index, true).map_err(failed())?;
    for (path, value) in [
        ("/proc/sys/net/ipv4/ip_forward".to_owned(), "1"),
        // So that 127.0.0.1 on the machine reaches a published port.
        (format!("/proc/sys/net/ipv4/conf/{name}/route_localnet"), "1"),
    ] {
        fs::write(&path, value).map_err(|source| NetworkError::Io { path: path.into(), source })?;
    }
    Ok(index)
}

/// The container's end: named, addressed, up, with a route to the world.
fn inside(namespace: BorrowedFd<'_>, attachment: &Attachment) -> Result<(), NetworkError> {
    let failed = || failed("the container's network");
    let mut netlink = netlink_in(namespace).map_err(failed())?;
    let lo = found(&mut netlink, "lo")?.index;
    link::set_up(&mut netlink, lo, true).map_err(failed())?;
    let index = found(&mut netlink, &attachment.inner)?.index;
    add_address(&mut netlink, index, attachment.address).map_err(failed())?;
    link::set_up(&mut netlink, index, true).map_err(failed())?;
    match attachment.gateway {
        Some(gateway) => way_out(&mut netlink, index, gateway).map_err(failed()),
        None => Ok(()),
    }
}

/// Lets a container that has no way out any more go by this network. Where it has one, that stays.
pub fn lead_out(namespace: BorrowedFd<'_>, attachment: &Attachment) -> Result<(), NetworkError> {
    let failed = || failed("the container's way out");
    let Some(gateway) = attachment.gateway else { return Ok(()) };
    let mut netlink = netlink_in(namespace).map_err(failed())?;
    let index = found(&mut netlink, &attachment.inner)?.index;
    way_out(&mut netlink, index, gateway).map_err(failed())
}

fn way_out(netlink: &mut Netlink, index: u32, gateway: Ipv4Addr) -> Result<(), Error> {
    let everywhere = Prefix::from(IpNet::from(Ipv4Net::default()));
    let way_out = Route {
        to: everywhere,
        gateway: Some(gateway.into()),
        source: None,
        metric: 0,
        protocol: RouteProtocol::Boot,
    };
    match link::add_route(netlink, index, &way_out) {
        // The network that it was on before leads out.
        Err(error) if error.already_exists() => Ok(()),
        other => other,
    }
}

/// A socket that stays in the namespace it was opened in.
fn netlink_in(namespace: BorrowedFd<'_>) -> Result<Netlink, Error> {
    within(namespace, Netlink::open).unwrap_or_else(|error| Err(error.into()))
}

/// Does something in a network namespace: a thread of its own does, and ours stays where it is, whatever happens.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn within<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let inside = || {
            move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
            Ok(work())
        };
        let done = std::thread::Builder::new().spawn_scoped(scope, inside)?.join();
        done.unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace failed")))
    })
}

fn add_address(netlink: &mut Netlink, index: u32, net: Ipv4Net) -> Result<(), Error> {
    let address = Address { prefix: IpNet::from(net).into(), lifetime: None, metric: 0 };
    link::add_address(netlink, index, &address)
}

fn found(netlink: &mut Netlink, name: &str) -> Result<Link, NetworkError> {
    let what = format!("link {name}");
    let missing = || Error::Refused(io::Error::from(io::ErrorKind::NotFound));
    link::find(netlink, name).and_then(|link| link.ok_or_else(missing)).map_err(failed(&what))
}

fn remove_index(netlink: &mut Netlink, index: u32) {
    // Gone already is as good.
    let _ = link::remove(netlink, index);
}

fn failed(what: &str) -> impl Fn(Error) -> NetworkError + use<> {
    let what = what.to_owned();
    move |source| NetworkError::Link { what: what.clone(), source }
}
