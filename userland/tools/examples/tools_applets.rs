//! The crate's applets in a binary of their own, for its tests.

use std::path::Path;
use std::process::ExitCode;

use tools::{editor, kernel_log, lsblk, memory, mount, ps, shell, swap, uptime, uutils};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let name = args.first().map(|arg| Path::new(arg).file_name().unwrap_or_default().to_string_lossy());
    match name.as_deref().map(|name| name.trim_start_matches('-')) {
        Some("sh" | "bash") => shell::sh(args),
        Some("vi") => editor::vi(args),
        Some("mount") => mount::mount(args),
        Some("umount") => mount::umount(args),
        Some("swapon") => swap::swapon(args),
        Some("swapoff") => swap::swapoff(args),
        Some("ps") => ps::ps(args),
        Some("free") => memory::free(args),
        Some("uptime") => uptime::uptime(args),
        Some("dmesg") => kernel_log::dmesg(args),
        Some("lsblk") => lsblk::lsblk(args),
        Some("ls") => uutils::ls(args),
        Some("cat") => uutils::cat(args),
        Some("df") => uutils::df(args),
        Some("id") => uutils::id(args),
        Some("whoami") => uutils::whoami(args),
        Some("head") => uutils::head(args),
        Some("yes") => uutils::yes(args),
        Some("grep") => uutils::grep(args),
        Some("sed") => uutils::sed(args),
        Some("find") => uutils::find(args),
        Some("xargs") => uutils::xargs(args),
        Some("cp") => uutils::cp(args),
        Some("date") => uutils::date(args),
        Some("env") => uutils::env(args),
        Some("[" | "test") => uutils::test(args),
        Some("sort") => uutils::sort(args),
        Some("stat") => uutils::stat(args),
        _ => ExitCode::from(127),
    }
}
