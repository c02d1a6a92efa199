//! `sudod`: runs commands for those who may.
//!
//! One thread a request, and few of them: what happens is a wait for a process on one side and for a
//! socket on the other.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use accounts::{Accounts, Identity, User};
use clap::Parser;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use sd_notify::NotifyState;

use crate::child::{self, Become};
use crate::request::{Answer, Kind, MOST, Request};
use crate::{policy, terminal, wire};

/// The path of commands that are run.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin";
/// The most commands at a time.
const MOST_COMMANDS: usize = 128;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a command may take to end after its client has gone.
const LAST_CHANCE: Duration = Duration::from_secs(2);

/// Run commands as root for the members of the groups sudo and wheel. They ask with `sudo`.
#[derive(Debug, Parser)]
#[command(name = "sudod", version)]
struct Options {
    /// Where to listen
    #[arg(long, value_name = "SOCKET", default_value = crate::SOCKET)]
    socket: PathBuf,
    /// The folder of passwd and group
    #[arg(long, value_name = "FOLDER", default_value = "/etc")]
    etc: PathBuf,
}

/// The server.
pub fn sudod(args: Vec<OsString>) -> ExitCode {
    if let Some((first, rest)) = args.get(1..).and_then(<[_]>::split_first)
        && first == child::STEP
    {
        return child::run(rest);
    }
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match serve(&options) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("sudod: {}: {error}", options.socket.display());
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &Options) -> io::Result<std::convert::Infallible> {
    let listener = match linux::listen_fds::take().into_iter().next() {
        Some((_, inherited)) => UnixListener::from(inherited),
        None => bind(&options.socket)?,
    };
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("Listening")]) {
        eprintln!("sudod: the service manager was not told: {error}");
    }
    let running = Arc::new(AtomicUsize::new(0));
    loop {
        let (socket, _) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                eprintln!("sudod: a request could not be taken: {error}");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        // Who may not is told so here: strangers hold no thread.
        let caller = match who(&socket, &options.etc) {
            Ok(caller) => caller,
            Err(why) => {
                refuse(&socket, &why);
                continue;
            }
        };
        if running.fetch_add(1, Ordering::Relaxed) >= MOST_COMMANDS {
            running.fetch_sub(1, Ordering::Relaxed);
            refuse(&socket, &format!("{MOST_COMMANDS} commands run already"));
            continue;
        }
        let (etc, running) = (options.etc.clone(), running.clone());
        let started = std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
            if let Err(why) = handle(&socket, &caller, &etc) {
                eprintln!("sudod: {}: {why}", caller.name);
                refuse(&socket, &why);
            }
            running.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = started {
            eprintln!("sudod: no thread for a request: {error}");
        }
    }
}

/// A socket of our own, where the service manager hands none over.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // Everyone may ask; the kernel says who it is.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

fn refuse(socket: &UnixStream, why: &str) {
    let _ = socket.set_write_timeout(Some(PATIENCE));
    let _ = wire::send(socket, &Answer::Refused(why.to_owned()).encode(), &[]);
}

/// The user at the other end of the socket, if that user may.
fn who(socket: &UnixStream, etc: &Path) -> Result<User, String> {
    let peer = socket_peercred(socket).map_err(|error| error.to_string())?;
    let accounts = Accounts::read(etc).map_err(|error| error.to_string())?;
    policy::caller(&accounts, peer.uid.as_raw()).map_err(|refusal| {
        eprintln!("sudod: user {}: refused: {refusal}", peer.uid.as_raw());
        refusal.to_string()
    })
}

/// One request from its first byte to the end of its command.
fn handle(socket: &UnixStream, caller: &User, etc: &Path) -> Result<(), String> {
    socket.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let Some((bytes, descriptors)) = wire::receive(socket, MOST).map_err(|error| error.to_string())? else {
        return Ok(());
    };
    let request = Request::decode(&bytes).map_err(|error| error.to_string())?;
    let accounts = Accounts::read(etc).map_err(|error| error.to_string())?;
    let user =
        policy::target(&accounts, &request.user.to_string_lossy()).map_err(|refusal| refusal.to_string())?;
    if request.kind == Kind::Check {
        let _ = wire::send(socket, &Answer::Runs.encode(), &[]);
        return Ok(());
    }
    let Ok([stdin, stdout, stderr]) = <[OwnedFd; 3]>::try_from(descriptors) else {
        return Err("the request came without standard input, output and error".to_owned());
    };
    eprintln!(
        "sudod: {} : PWD={} ; USER={} ; COMMAND={}",
        caller.name,
        request.folder.display(),
        user.name,
        shown(&request)
    );
    let mut standard = [stdin, stdout, stderr];
    let (master, controls) = match request.terminal {
        true => {
            terminal::instead(&mut standard, user.uid).map_err(|error| format!("no terminal: {error}"))?
        }
        false => (None, None),
    };
    let target = target(&request, &user, accounts.groups_of(&user), controls);
    let command = start(&target, environment(&request, &user, caller), standard)
        .map_err(|error| format!("{} could not be started: {error}", target.program.display()))?;
    let other_end: Vec<_> = master.iter().map(AsFd::as_fd).collect();
    let told = wire::send(socket, &Answer::Runs.encode(), &other_end);
    drop(other_end);
    drop(master);
    told.map_err(|error| error.to_string())?;
    socket.set_read_timeout(None).map_err(|error| error.to_string())?;
    attend(socket, command)
}

fn start(
    target: &Become,
    environment: Vec<(OsString, OsString)>,
    standard: [OwnedFd; 3],
) -> io::Result<Child> {
    let [stdin, stdout, stderr] = standard;
    Command::new("/proc/self/exe")
        .arg0("sudod")
        .args(target.to_args())
        .env_clear()
        .envs(environment)
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .spawn()
}

/// Passes signals on until the command ends, and its end back; or ends it when the client goes.
fn attend(socket: &UnixStream, mut command: Child) -> Result<(), String> {
    let leader = Pid::from_child(&command);
    let group = Arc::new(Mutex::new(Some(leader)));
    let their_socket = socket.try_clone().map_err(|error| error.to_string())?;
    let waiter = {
        let group = group.clone();
        std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
            // The number stays the command's until it is reaped: forget it before.
            let _ = waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            *group.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let code = match command.wait() {
                Ok(status) => status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1),
                Err(_) => 1,
            };
            let answer = Answer::Ended(u8::try_from(code).unwrap_or(1));
            let _ = wire::send(&their_socket, &answer.encode(), &[]);
            let _ = their_socket.shutdown(std::net::Shutdown::Both);
        })
    };
    let waiter = waiter.map_err(|error| error.to_string())?;
    let signal = |signal| {
        if let Some(leader) = *group.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = kill_process_group(leader, signal);
        }
    };
    while let Ok(Some((bytes, _))) = wire::receive(socket, 1) {
        if let Some(known) = bytes.first().and_then(|number| passed_on(*number)) {
            signal(known);
        }
    }
    // The client has gone, or the command has ended: then nothing is left to signal.
    for last in [Signal::HUP, Signal::TERM] {
        signal(last);
        signal(Signal::CONT);
    }
    let pause = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    while !waiter.is_finished() && waited < LAST_CHANCE {
        std::thread::sleep(pause);
        waited += pause;
    }
    signal(Signal::KILL);
    let _ = waiter.join();
    Ok(())
}

/// The signals that a client may pass on.
fn passed_on(number: u8) -> Option<Signal> {
    [
        Signal::INT,
        Signal::TERM,
        Signal::HUP,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::CONT,
    ]
    .into_iter()
    .find(|signal| signal.as_raw() == i32::from(number))
}

/// What the process becomes.
fn target(request: &Request, user: &User, groups: Vec<u32>, terminal: Option<u8>) -> Become {
    let shell = match request.kind {
        Kind::Shell => {
            variable(&request.environment, "SHELL").map_or_else(|| user.shell.clone(), PathBuf::from)
        }
        _ => user.shell.clone(),
    };
    let shell_name = shell.file_name().unwrap_or_default().to_owned();
    let (program, args) = match request.kind {
        Kind::Command | Kind::Check => {
            (request.command.first().cloned().unwrap_or_default(), request.command.clone())
        }
        Kind::Login | Kind::Shell => {
            let mut name = OsString::from(if request.kind == Kind::Login { "-" } else { "" });
            name.push(&shell_name);
            let mut args = vec![name];
            if !request.command.is_empty() {
                args.extend(["-c".into(), quoted(&request.command)]);
            }
            (shell.into_os_string(), args)
        }
    };
    let folder = if request.kind == Kind::Login { user.home.clone() } else { PathBuf::from(&request.folder) };
    Become { identity: Identity { uid: user.uid, groups }, folder, terminal, program, args }
}

/// The words of a command as a shell reads them back.
fn quoted(words: &[OsString]) -> OsString {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(byte);
    let mut line = OsString::new();
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            line.push(" ");
        }
        let bytes = word.as_encoded_bytes();
        if !bytes.is_empty() && bytes.iter().all(plain) {
            line.push(word);
            continue;
        }
        line.push("'");
        for (at, part) in word.to_string_lossy().split('\'').enumerate() {
            line.push(if at > 0 { "'\\''" } else { "" });
            line.push(part);
        }
        line.push("'");
    }
    line
}

/// A request as one line for the log, without what could break a line.
fn shown(request: &Request) -> String {
    let line = match request.kind {
        Kind::Command | Kind::Check => quoted(&request.command),
        Kind::Login | Kind::Shell => {
            let mut line = OsString::from("(shell) ");
            line.push(quoted(&request.command));
            line
        }
    };
    line.to_string_lossy()
        .chars()
        .map(|character| if character.is_control() { '?' } else { character })
        .take(1000)
        .collect()
}

fn variable<'a>(environment: &'a [OsString], name: &str) -> Option<&'a OsStr> {
    environment.iter().rev().find_map(|pair| match split(pair) {
        Some((known, value)) if known == name => Some(value),
        _ => None,
    })
}

fn split(pair: &OsStr) -> Option<(&OsStr, &OsStr)> {
    use std::os::unix::ffi::OsStrExt;
    let at = pair.as_bytes().iter().position(|byte| *byte == b'=')?;
    let (name, value) = pair.as_bytes().split_at(at);
    Some((OsStr::from_bytes(name), OsStr::from_bytes(value.get(1..)?)))
}

fn environment(request: &Request, user: &User, caller: &User) -> Vec<(OsString, OsString)> {
    let kept = |name: &OsStr| {
        let name = name.to_string_lossy();
        request.keep
            || name.starts_with("LC_")
            || matches!(&*name, "TERM" | "LANG" | "LANGUAGE" | "COLORTERM" | "NO_COLOR" | "TZ" | "DISPLAY")
    };
    let mut all: Vec<(OsString, OsString)> = Vec::new();
    let mut set = |name: &OsStr, value: &OsStr| {
        all.retain(|(known, _)| known != name);
        all.push((name.to_owned(), value.to_owned()));
    };
    for (name, value) in
        request.environment.iter().filter_map(|pair| split(pair)).filter(|(name, _)| kept(name))
    {
        set(name, value);
    }
    if !request.keep {
        set("HOME".as_ref(), user.home.as_os_str());
        set("SHELL".as_ref(), user.shell.as_os_str());
    }
    set("PATH".as_ref(), PATH.as_ref());
    set("USER".as_ref(), user.name.as_ref());
    set("LOGNAME".as_ref(), user.name.as_ref());
    set("SUDO_USER".as_ref(), caller.name.as_ref());
    set("SUDO_UID".as_ref(), caller.uid.to_string().as_ref());
    set("SUDO_GID".as_ref(), caller.gid.to_string().as_ref());
    set("SUDO_COMMAND".as_ref(), quoted(&request.command).as_os_str());
    for (name, value) in request.variables.iter().filter_map(|pair| split(pair)) {
        set(name, value);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, uid: u32) -> User {
        User {
            name: name.into(),
            uid,
            gid: uid,
            home: format!("/home/{name}").into(),
            shell: "/bin/bash".into(),
        }
    }

    fn request(kind: Kind, command: &[&str]) -> Request {
        Request {
            kind,
            command: command.iter().map(OsString::from).collect(),
            folder: "/tmp".into(),
            ..Request::default()
        }
    }

    #[test]
    fn a_login_shell_starts_at_home_and_gets_the_command_quoted() {
        let become_it =
            target(&request(Kind::Login, &["echo", "it's", "a b"]), &user("www", 33), vec![33], None);
        assert_eq!(become_it.args, ["-bash", "-c", r"echo 'it'\''s' 'a b'"]);
        assert_eq!(become_it.folder, Path::new("/home/www"));
        let plain = target(&request(Kind::Command, &["ls", "-l"]), &user("www", 33), vec![33], None);
        assert_eq!((plain.program.to_str(), plain.folder.to_str()), (Some("ls"), Some("/tmp")));
    }

    #[test]
    fn the_environment_is_the_targets_own() {
        let mut request = request(Kind::Command, &["env"]);
        request.environment =
            ["TERM=xterm", "LD_PRELOAD=evil", "HOME=/home/core", "LC_ALL=C"].map(OsString::from).into();
        request.variables = vec!["A=1".into()];
        let names = |request: &Request| -> Vec<String> {
            let all = environment(request, &user("root", 0), &user("core", 500));
            all.into_iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect()
        };
        let reset = names(&request);
        for wanted in [
            "TERM=xterm",
            "LC_ALL=C",
            "HOME=/home/root",
            "USER=root",
            "SUDO_USER=core",
            "SUDO_UID=500",
            "A=1",
        ] {
            assert!(reset.iter().any(|pair| pair == wanted), "{wanted}");
        }
        assert!(!reset.iter().any(|pair| pair.starts_with("LD_PRELOAD")));
        request.keep = true;
        assert!(names(&request).iter().any(|pair| pair == "HOME=/home/core"));
    }

    #[test]
    fn a_log_line_stays_one_line() {
        assert_eq!(shown(&request(Kind::Command, &["echo", "a\nb\x1b[1m"])), "echo 'a?b?[1m'");
    }
}
