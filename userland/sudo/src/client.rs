//! `sudo`: asks `sudod`, then passes on what the two sides have to say to each other.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::options::Options;
use crate::request::{Answer, Kind, Request};
use crate::terminal::{Bridge, of_caller};
use crate::wire;

/// The longest answer.
const MOST_ANSWER: usize = 64 << 10;
/// The signals that are passed on to the command.
const PASSED_ON: [Signal; 7] =
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::CONT];

/// The client.
pub fn sudo(args: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.exit_code() != 0));
        }
    };
    match ask(options) {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            eprintln!("sudo: {why}");
            ExitCode::FAILURE
        }
    }
}

fn ask(mut options: Options) -> Result<u8, String> {
    let variables = options.take_variables();
    let nothing = options.command.is_empty() && !options.login && !options.shell;
    if nothing && (options.reset_timestamp || options.remove_timestamp) && !options.validate && !options.list
    {
        return Ok(0);
    }
    let kind = match (&options, nothing) {
        (Options { list: true, .. } | Options { validate: true, .. }, _) => Kind::Check,
        (_, true) => return Err("say what to run, or -i for a shell; --help explains".to_owned()),
        (Options { login: true, .. }, _) => Kind::Login,
        (Options { shell: true, .. }, _) => Kind::Shell,
        _ => Kind::Command,
    };
    let terminal = of_caller().filter(|_| kind != Kind::Check);
    let pair = |(name, value): (OsString, OsString)| {
        let mut pair = name;
        pair.push("=");
        pair.push(value);
        pair
    };
    let request = Request {
        user: options.user.clone().into(),
        kind,
        terminal: terminal.is_some(),
        keep: options.preserve_env,
        folder: folder(options.chdir.as_deref())?,
        environment: std::env::vars_os().map(pair).collect(),
        variables,
        command: options.command,
    };
    let place = options.socket.display();
    let socket = UnixStream::connect(&options.socket)
        .map_err(|error| format!("sudod does not answer at {place}: {error}"))?;
    let failed = |error: io::Error| format!("sudod at {place}: {error}");
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    // A refusal may come before the request is read, and then is the better message.
    let sent = wire::send(&socket, &request.encode(), &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]);
    let (answer, master) = match receive(&socket) {
        Ok(answer) => answer,
        Err(error) => return Err(failed(sent.err().unwrap_or(error))),
    };
    match answer {
        Answer::Refused(why) => Err(why),
        Answer::Ended(code) => Ok(code),
        Answer::Runs if options.list => {
            println!("You may run the following commands on this machine:\n    (ALL) NOPASSWD: ALL");
            Ok(0)
        }
        Answer::Runs if kind == Kind::Check => Ok(0),
        Answer::Runs => {
            let bridge = match (terminal, master) {
                (Some(caller), Some(master)) => Some(Bridge::open(caller, master).map_err(failed)?),
                _ => None,
            };
            let ended = carry(socket, bridge.as_ref()).map_err(failed);
            if let Some(bridge) = bridge {
                bridge.close();
            }
            ended
        }
    }
}

fn folder(wanted: Option<&Path>) -> Result<OsString, String> {
    let here = std::env::current_dir();
    match (here, wanted) {
        (Ok(here), Some(wanted)) => Ok(here.join(wanted).into_os_string()),
        (Ok(here), None) => Ok(here.into_os_string()),
        (Err(_), Some(wanted)) if wanted.is_absolute() => Ok(wanted.into()),
        (Err(_), None) => Ok("/".into()),
        (Err(error), Some(_)) => Err(format!("the folder we are in is not there: {error}")),
    }
}

fn receive(socket: &UnixStream) -> io::Result<(Answer, Option<OwnedFd>)> {
    let gone = || io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection");
    let (bytes, mut descriptors) = wire::receive(socket, MOST_ANSWER)?.ok_or_else(gone)?;
    let answer = Answer::decode(&bytes).map_err(io::Error::other)?;
    Ok((answer, if descriptors.is_empty() { None } else { Some(descriptors.remove(0)) }))
}

/// Passes signals on until the command has ended. Its exit status.
fn carry(socket: UnixStream, bridge: Option<&Bridge>) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let socket = Arc::new(socket);
    runtime.block_on(async {
        let (tell, mut signals) = mpsc::channel(8);
        for passed in PASSED_ON {
            let mut caught = signal(SignalKind::from_raw(passed.as_raw()))?;
            let tell = tell.clone();
            tokio::spawn(
                async move { while caught.recv().await.is_some() && tell.send(passed).await.is_ok() {} },
            );
        }
        let mut resized = signal(SignalKind::window_change())?;
        let ended = {
            let socket = socket.clone();
            tokio::task::spawn_blocking(move || receive(&socket))
        };
        tokio::pin!(ended);
        loop {
            tokio::select! {
                ended = &mut ended => return match ended.map_err(io::Error::other)??.0 {
                    Answer::Ended(code) => Ok(code),
                    Answer::Refused(why) => Err(io::Error::other(why)),
                    Answer::Runs => Err(io::Error::other("it said twice that the command runs")),
                },
                Some(passed) = signals.recv() => {
                    let number = u8::try_from(passed.as_raw()).unwrap_or(0);
                    let _ = wire::send(&socket, &[number], &[]);
                }
                _ = resized.recv() => {
                    if let Some(bridge) = bridge {
                        bridge.resize();
                    }
                }
            }
        }
    })
}
