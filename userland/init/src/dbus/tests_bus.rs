//! The face on a real bus of our own broker: calls are answered there, and a flood by strangers hurts nobody else.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wire::{Connection, Message};

use super::tests::Fake;
use super::world::Notice;
use super::{NAME, ROOT, Server};

const PATIENCE: Duration = Duration::from_secs(60);
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const DRIVER: &str = "org.freedesktop.DBus";

/// A client that has said Hello.
fn connect(path: &Path) -> Connection {
    let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut client = Connection::client(stream).unwrap();
    client.send(Message::call("/org/freedesktop/DBus", DRIVER, "Hello").to(DRIVER)).unwrap();
    client
}

/// Asks until there is an answer: while nobody owns the name there is an error.
fn ask(client: &mut Connection, call: &Message) -> Message {
    let started = Instant::now();
    let mut serial = client.send(call.clone()).unwrap();
    loop {
        client.flush().unwrap();
        client.receive("").unwrap();
        while let Some(message) = client.message().unwrap() {
            if message.reply_serial == serial && message.error.is_empty() {
                return message;
            }
            if message.reply_serial == serial {
                std::thread::sleep(Duration::from_millis(5));
                serial = client.send(call.clone()).unwrap();
            }
        }
        assert!(started.elapsed() < PATIENCE, "no answer");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_flood_on_the_bus_hurts_nobody_else() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root owns names on the bus");
    }
    let folder = tempfile::tempdir().unwrap();
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), permissions).unwrap();
    let (private, path) = (folder.path().join("private"), folder.path().join("bus"));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let (policy, activation) = (bus::policy::Policy::default(), bus::activation::Activation::default());
    let mut broker = bus::broker::Broker::new(listener, policy, activation).unwrap();
    // It ends with the test's process: it waits for clients for ever.
    std::thread::spawn(move || while broker.turn().is_ok() {});

    let done = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&done);
    let server_path = path.clone();
    let server = std::thread::spawn(move || {
        let mut world = Fake::with_bus();
        let mut server = Server::listen(&private, &server_path).unwrap();
        server.tell(&world, &[Notice::Changed(super::bus::UNIT.into())]);
        while !over.load(Ordering::SeqCst) {
            let wait = rustix::time::Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
            let fd = server.fd();
            let mut ready = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut ready, Some(&wait)).unwrap();
            server.ready(&mut world);
        }
        world.asked
    });

    let list = Message::call(ROOT, MANAGER, "ListUnits").to(NAME);
    let mut honest = connect(&path);
    assert_eq!(ask(&mut honest, &list).signature, "a(ssssssouso)");

    let flooded = path.clone();
    let flood = std::thread::spawn(move || {
        // Of this thread alone; the bus asks the kernel who connects.
        rustix::thread::set_thread_gid(rustix::process::Gid::from_raw(65534)).unwrap();
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).unwrap();
        let mut client = connect(&flooded);
        let list = Message::call(ROOT, MANAGER, "ListUnits").to(NAME);
        let stop =
            Message::call(ROOT, MANAGER, "StopUnit").to(NAME).with(&("hello1.service", "replace")).unwrap();
        for turn in 0..20_000u32 {
            let call = if turn % 2 == 0 { &list } else { &stop };
            // It never reads. When nobody takes more, that is the end of it.
            if client.send(call.clone()).is_err() || client.flush().is_err() {
                break;
            }
        }
        client
    });
    let flooding = flood.join().unwrap();
    for _ in 0..5 {
        assert_eq!(ask(&mut honest, &list).signature, "a(ssssssouso)");
    }
    drop(flooding);
    done.store(true, Ordering::SeqCst);
    let asked = server.join().unwrap();
    assert!(!asked.iter().any(|what| what.starts_with("Stop")), "a stranger stops nothing: {asked:?}");
}
