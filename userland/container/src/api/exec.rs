//! More processes in a running container: made, started, told of.
//!
//! Each is a `docker exec` of ours, whose streams are pipes or a terminal that we hold the other end of.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;

use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::answer::{Answer, Failure, empty, json_ok, json_with};
use super::request::Request;
use super::supervisor::keeper::nonblocking;
use super::supervisor::streams::{again, resize as resize_terminal, terminal};
use super::{Api, attach, frame, locked};
use crate::state::{Status, new_id};

/// Of those that ended, so many are remembered.
const REMEMBERED: usize = 512;
const CHUNK: usize = 32 << 10;

/// What a client asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Wanted {
    attach_stdin: bool,
    attach_stdout: bool,
    attach_stderr: bool,
    tty: bool,
    privileged: bool,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
}

/// A process that was asked for.
#[derive(Debug)]
pub struct Exec {
    container: String,
    wanted: Wanted,
    state: State,
    /// Of its terminal, our end.
    terminal: Option<OwnedFd>,
    made: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Made,
    Running(u32),
    Ended(i32),
}

/// `containers/ID/exec`
pub fn create(api: &Api, name: &str, wanted: Wanted) -> Answer {
    let container = api.containers().find(name)?;
    let id = &container.record.id;
    if container.status != Status::Running {
        return Err(Failure::conflict(format!("container {id} is not running")));
    }
    if super::lifecycle::is_paused(&container) {
        return Err(Failure::conflict(format!(
            "container {name} is paused, unpause the container before exec"
        )));
    }
    if wanted.cmd.as_ref().is_none_or(Vec::is_empty) {
        return Err(Failure::bad("No exec command specified"));
    }
    if wanted.privileged {
        return Err(Failure::bad("exec --privileged is not supported by this engine"));
    }
    let command = wanted.cmd.as_ref().map(|words| words.join(" ")).unwrap_or_default();
    let exec = new_id()?;
    let mut execs = locked(&api.execs);
    let made = execs.values().map(|exec| exec.made + 1).max().unwrap_or(0);
    execs.insert(
        exec.clone(),
        Exec { container: id.clone(), wanted, state: State::Made, terminal: None, made },
    );
    while execs.len() > REMEMBERED {
        let idle = execs.iter().filter(|(_, one)| !matches!(one.state, State::Running(_)));
        let Some(oldest) = idle.min_by_key(|(_, one)| one.made).map(|(id, _)| id.clone()) else { break };
        execs.remove(&oldest);
    }
    drop(execs);
    super::inspect::tell(api, &container.record, &format!("exec_create: {command}"), &[("execID", &exec)]);
    Ok(json_with(StatusCode::CREATED, &json!({ "Id": exec })))
}

fn missing(id: &str) -> Failure {
    Failure::missing(format!("No such exec instance: {id}"))
}

/// The processes of a container that were asked for and have not ended.
pub fn of_container(api: &Api, container: &str) -> Vec<String> {
    let execs = locked(&api.execs);
    let of_it =
        execs.iter().filter(|(_, one)| one.container == container && !matches!(one.state, State::Ended(_)));
    of_it.map(|(id, _)| id.clone()).collect()
}

/// `exec/ID/json`
pub fn inspect(api: &Api, id: &str) -> Answer {
    let execs = locked(&api.execs);
    let exec = execs.get(id).ok_or_else(|| missing(id))?;
    let wanted = &exec.wanted;
    let words = wanted.cmd.clone().unwrap_or_default();
    json_ok(&json!({
        "ID": id, "ContainerID": exec.container, "Running": matches!(exec.state, State::Running(_)),
        "ExitCode": if let State::Ended(code) = exec.state { Some(code) } else { None },
        "Pid": if let State::Running(pid) = exec.state { pid } else { 0 },
        "OpenStdin": wanted.attach_stdin, "OpenStdout": wanted.attach_stdout, "OpenStderr": wanted.attach_stderr,
        "CanRemove": matches!(exec.state, State::Ended(_)), "DetachKeys": "",
        "ProcessConfig": {
            "entrypoint": words.first(), "arguments": words.get(1..).unwrap_or_default(), "tty": wanted.tty,
            "privileged": false, "user": wanted.user,
        },
    }))
}

/// `exec/ID/resize`
pub fn resize(api: &Api, id: &str, rows: u16, columns: u16) -> Answer {
    let execs = locked(&api.execs);
    let exec = execs.get(id).ok_or_else(|| missing(id))?;
    if let (Some(terminal), State::Running(pid)) = (&exec.terminal, exec.state) {
        resize_terminal(terminal, rows, columns);
        if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
            // The go-between copies the size to the terminal inside.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::WINCH);
        }
    }
    empty(StatusCode::OK)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Start {
    detach: bool,
    tty: bool,
    console_size: Option<[u16; 2]>,
}

/// `exec/ID/start`
pub async fn start(api: &Arc<Api>, id: &str, mut request: Request) -> Answer {
    let start: Start = request.json().await?;
    let (container, wanted) = {
        let execs = locked(&api.execs);
        let exec = execs.get(id).ok_or_else(|| missing(id))?;
        if exec.state != State::Made {
            return Err(Failure::conflict(format!("exec command {id} is already running or has ended")));
        }
        (exec.container.clone(), exec.wanted.clone())
    };
    let found = api.containers().find(&container)?;
    if found.status != Status::Running {
        return Err(Failure::conflict(format!("container {container} is not running")));
    }
    let response =
        if start.detach { None } else { Some(attach::upgrade(&request, wanted.tty || start.tty)?) };
    let (child, streams) = spawn(api, &container, &wanted, start.detach)?;
    let pid = child.id().unwrap_or(0);
    let held = match &streams {
        Streams::Terminal(master) => Some(again(master)?),
        Streams::Pipes => None,
    };
    if let (Some([rows, columns]), Some(terminal)) = (start.console_size, &held) {
        resize_terminal(terminal, rows, columns);
    }
    if let Some(exec) = locked(&api.execs).get_mut(id) {
        exec.state = State::Running(pid);
        exec.terminal = held;
    }
    let command = wanted.cmd.as_ref().map(|words| words.join(" ")).unwrap_or_default();
    super::inspect::tell(api, &found.record, &format!("exec_start: {command}"), &[("execID", id)]);
    let (api, id) = (Arc::clone(api), id.to_owned());
    let ended = move |code: i32| {
        if let Some(exec) = locked(&api.execs).get_mut(&id) {
            exec.state = State::Ended(code);
            exec.terminal = None;
        }
        super::inspect::tell(
            &api,
            &found.record,
            "exec_die",
            &[("exitCode", &code.to_string()), ("execID", &id)],
        );
    };
    let Some(response) = response else {
        tokio::spawn(async move { ended(status(child).await) });
        return empty(StatusCode::OK);
    };
    let upgraded = hyper::upgrade::on(&mut request.http);
    tokio::spawn(async move {
        match upgraded.await {
            Ok(client) => {
                let (read, write) = tokio::io::split(TokioIo::new(client));
                let (code, mut write) = relay(read, write, child, streams).await;
                // Before the end of the stream: a client then asks how it ended.
                ended(code);
                let _ = write.shutdown().await;
            }
            Err(_) => ended(status(child).await),
        }
    });
    Ok(response)
}

enum Streams {
    Pipes,
    Terminal(OwnedFd),
}

fn spawn(api: &Api, container: &str, wanted: &Wanted, detach: bool) -> Result<(Child, Streams), Failure> {
    let mut args = vec!["client".to_owned(), "exec".to_owned()];
    let mut flag = |name: &str, on: bool| args.extend(on.then(|| name.to_owned()));
    flag("--interactive", wanted.attach_stdin && !detach);
    flag("--tty", wanted.tty);
    for entry in wanted.env.iter().flatten().filter(|entry| entry.contains('=')) {
        args.push(format!("--env={entry}"));
    }
    for (name, value) in [("user", &wanted.user), ("workdir", &wanted.working_dir)] {
        args.extend(value.iter().filter(|value| !value.is_empty()).map(|value| format!("--{name}={value}")));
    }
    args.push(container.to_owned());
    args.extend(wanted.cmd.clone().unwrap_or_default());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut command = super::launch::ourselves(api, &args);
    let mut streams = Streams::Pipes;
    if wanted.tty {
        let (master, slave) = terminal()?;
        command.stdin(again(&slave)?).stdout(again(&slave)?).stderr(slave);
        streams = Streams::Terminal(master);
    } else if detach {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    } else {
        let stdin = if wanted.attach_stdin { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    Ok((Command::from(command).spawn()?, streams))
}

async fn status(mut child: Child) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    match child.wait().await {
        Ok(status) => status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(255),
        Err(_) => 255,
    }
}

async fn relay<W: AsyncWrite + Unpin>(
    mut read: impl AsyncRead + Unpin + Send + 'static,
    write: W,
    mut child: Child,
    streams: Streams,
) -> (i32, W) {
    let write = Mutex::new(write);
    if let Streams::Terminal(master) = streams {
        let code = on_terminal(read, &write, child, master).await;
        return (code, write.into_inner());
    }
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let input = tokio::spawn(async move {
        if let Some(mut stdin) = stdin {
            let _ = tokio::io::copy(&mut read, &mut stdin).await;
        }
    });
    tokio::join!(copy(stdout, frame::STDOUT, &write), copy(stderr, frame::STDERR, &write));
    let code = status(child).await;
    input.abort();
    (code, write.into_inner())
}

/// Copies a pipe as frames. A client that is gone does not stop the process.
async fn copy<W: AsyncWrite + Unpin>(from: Option<impl AsyncRead + Unpin>, kind: u8, to: &Mutex<W>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let piece = frame::encode(kind, buffer.get(..length).unwrap_or_default());
        let mut to = to.lock().await;
        let _ = to.write_all(&piece).await;
        let _ = to.flush().await;
    }
}

async fn on_terminal<W: AsyncWrite + Unpin>(
    mut read: impl AsyncRead + Unpin,
    write: &Mutex<W>,
    child: Child,
    master: OwnedFd,
) -> i32 {
    let Ok(master) = nonblocking(master) else { return status(child).await };
    let input = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = read.read(&mut buffer).await {
            let mut left = buffer.get(..length).unwrap_or_default();
            while !left.is_empty() {
                match put(&master, left).await {
                    Ok(written) => left = left.get(written..).unwrap_or_default(),
                    Err(_) => return std::future::pending().await,
                }
            }
        }
        std::future::pending::<()>().await;
    };
    let output = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = get(&master, &mut buffer).await {
            let mut write = write.lock().await;
            let _ = write.write_all(buffer.get(..length).unwrap_or_default()).await;
            let _ = write.flush().await;
        }
    };
    tokio::select! {
        () = input => {}
        () = output => {}
    }
    status(child).await
}

async fn get(from: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = from.readable().await?;
        let done = ready.try_io(|from| Ok(rustix::io::read(from.get_ref(), &mut *buffer)?));
        if let Ok(done) = done {
            return done;
        }
    }
}

async fn put(to: &AsyncFd<OwnedFd>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        let mut ready = to.writable().await?;
        if let Ok(done) = ready.try_io(|to| Ok(rustix::io::write(to.get_ref(), bytes)?)) {
            return done;
        }
    }
}
