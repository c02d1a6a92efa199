//! The last thing that a program does that must not end: when it crashes, it says so and executes itself anew.
//!
//! A handler of SIGSEGV and its like may run at any moment: it uses only what was made ready before it, and only calls
//! that signal-safety(7) allows.

use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int};
use std::ptr::null;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The signals that say that the program itself is broken.
pub const SIGNALS: [(c_int, &str); 5] = [
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGABRT, "SIGABRT"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGFPE, "SIGFPE"),
];
/// Descriptors above this are not kept.
const MOST_DESCRIPTORS: c_int = 65_536;
/// So long a person may read what is on the console before the machine restarts, in seconds.
const PAUSE: libc::c_uint = 5;

/// What to do after a crash.
#[derive(Debug)]
pub struct Plan {
    /// Where to say what happened, each with what goes in front of it.
    pub places: Vec<(CString, CString)>,
    /// The program to execute and its arguments, the zeroth included; `None`: it has crashed too often.
    pub again: Option<(CString, Vec<CString>)>,
    /// Where there is no such program, the machine restarts; else it stands still, for a person to look at it.
    pub restarts: bool,
}

/// The plan as the handler can use it.
struct Ready {
    process: libc::pid_t,
    plan: Plan,
    /// Ends with a null.
    argv: Vec<*const c_char>,
}

static READY: AtomicPtr<Ready> = AtomicPtr::new(std::ptr::null_mut());

/// Follows this plan from now on, in place of an earlier one.
pub fn plan(plan: Plan) {
    let arguments = plan.again.iter().flat_map(|(_, arguments)| arguments);
    let argv = arguments.map(|argument| argument.as_ptr()).chain([null()]).collect();
    // SAFETY: takes no argument.
    let process = unsafe { libc::getpid() };
    let ready = Box::into_raw(Box::new(Ready { process, plan, argv }));
    let old = READY.swap(ready, Ordering::AcqRel);
    if !old.is_null() {
        // SAFETY: it came from a Box, and the handler, which runs in the one thread of this program, does not return.
        drop(unsafe { Box::from_raw(old) });
    }
}

/// Catches the signals from now on.
pub fn catch() {
    for (signal, _) in SIGNALS {
        // SAFETY: the handler keeps to what signal-safety(7) allows; the structure is valid when zeroed.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(c_int) as libc::sighandler_t;
            // on the stack that Rust has set aside: what broke may be the stack
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

extern "C" fn on_signal(signal: c_int) {
    let ready = READY.load(Ordering::Acquire);
    // SAFETY: signal-safe calls; `ready` is null or a Box that is freed only by `plan`, in this same thread.
    unsafe {
        let ours = !ready.is_null() && (*ready).process == libc::getpid();
        if !ours {
            // a child on its way to its program: it ends as it should
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
            return;
        }
        let name = SIGNALS.iter().find(|(number, _)| *number == signal).map_or("a signal", |(_, name)| name);
        (*ready).tell(&[b"PID 1 has crashed by ", name.as_bytes()]);
        (*ready).go_on()
    }
}

/// Follows the plan: executes the program anew with every descriptor that is open. Where that leads nowhere, the machine
/// restarts or stands still, as the plan says.
pub fn go_on() -> ! {
    let ready = READY.load(Ordering::Acquire);
    if ready.is_null() {
        std::process::abort();
    }
    // SAFETY: not null, so a Box that is freed only by `plan`, in this same thread.
    unsafe { (*ready).go_on() }
}

impl Ready {
    fn go_on(&self) -> ! {
        if let Some((program, _)) = &self.plan.again {
            self.tell(&[b"PID 1 executes itself anew"]);
            // SAFETY: signal-safe calls; the set is initialised before use, and the strings of `argv` live in `plan`.
            unsafe {
                let mut set = std::mem::zeroed();
                libc::sigemptyset(&raw mut set);
                for (signal, _) in SIGNALS {
                    libc::sigaddset(&raw mut set, signal);
                }
                libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
                for number in 3..MOST_DESCRIPTORS {
                    libc::fcntl(number, libc::F_SETFD, 0);
                }
                libc::execve(program.as_ptr(), self.argv.as_ptr(), environ.cast());
            }
            self.tell(&[b"PID 1 cannot be executed anew"]);
        }
        if !self.plan.restarts {
            self.tell(&[b"PID 1 cannot go on: the machine stands still"]);
            loop {
                // SAFETY: a signal-safe call without arguments.
                unsafe { libc::pause() };
            }
        }
        self.tell(&[b"PID 1 cannot go on: the machine restarts in 5 s"]);
        // SAFETY: signal-safe calls that take integers or nothing.
        unsafe {
            libc::sync();
            libc::sleep(PAUSE);
            libc::reboot(libc::RB_AUTOBOOT);
            libc::_exit(1)
        }
    }

    /// Says it at every place, in one write each.
    fn tell(&self, words: &[&[u8]]) {
        let mut line = [0_u8; 256];
        for (place, head) in &self.plan.places {
            let mut length = 0;
            for part in [head.to_bytes()].iter().chain(words).chain(&[&b"\n"[..]]) {
                let free = line.get_mut(length..).unwrap_or_default();
                let count = part.len().min(free.len());
                free.iter_mut().zip(*part).for_each(|(to, from)| *to = *from);
                length += count;
            }
            write(place, line.get(..length).unwrap_or_default());
        }
    }
}

fn write(place: &CStr, line: &[u8]) {
    // SAFETY: signal-safe calls; the path ends with a zero byte, and the buffer is as long as told.
    unsafe {
        let flags = libc::O_WRONLY | libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_APPEND;
        let fd = libc::open(place.as_ptr(), flags);
        if fd >= 0 {
            libc::write(fd, line.as_ptr().cast(), line.len());
            libc::close(fd);
        }
    }
}

unsafe extern "C" {
    static environ: *const *const c_char;
}
