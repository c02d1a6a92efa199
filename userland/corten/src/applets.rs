//! The one table of applets.

use std::ffi::OsString;
use std::process::ExitCode;

/// A program of the image: the name of its link and its entry.
pub struct Applet {
    /// The name it is called by.
    pub name: &'static str,
    /// The entry; the arguments begin with the applet's own name.
    pub main: fn(Vec<OsString>) -> ExitCode,
}

/// Every applet, sorted by name.
pub const ALL: &[Applet] = &[
    Applet { name: "[", main: tools::uutils::test },
    Applet { name: "base64", main: tools::uutils::base64 },
    Applet { name: "basename", main: tools::uutils::basename },
    Applet { name: "bash", main: tools::shell::sh },
    Applet { name: "brush", main: tools::shell::sh },
    Applet { name: "cat", main: tools::uutils::cat },
    Applet { name: "chmod", main: tools::uutils::chmod },
    Applet { name: "chown", main: tools::uutils::chown },
    Applet { name: "coreos-cloudinit", main: provision::coreos_cloudinit },
    Applet { name: "cp", main: tools::uutils::cp },
    Applet { name: "cut", main: tools::uutils::cut },
    Applet { name: "date", main: tools::uutils::date },
    Applet { name: "dd", main: tools::uutils::dd },
    Applet { name: "df", main: tools::uutils::df },
    Applet { name: "dirname", main: tools::uutils::dirname },
    Applet { name: "du", main: tools::uutils::du },
    Applet { name: "echo", main: tools::uutils::echo },
    Applet { name: "env", main: tools::uutils::env },
    Applet { name: "false", main: tools::uutils::r#false },
    Applet { name: "find", main: tools::uutils::find },
    Applet { name: "grep", main: tools::uutils::grep },
    Applet { name: "head", main: tools::uutils::head },
    Applet { name: "hostname", main: tools::uutils::hostname },
    Applet { name: "id", main: tools::uutils::id },
    Applet { name: "kibi", main: tools::editor::vi },
    Applet { name: "kill", main: tools::uutils::kill },
    Applet { name: "less", main: tools::uutils::more },
    Applet { name: "ln", main: tools::uutils::ln },
    Applet { name: "ls", main: tools::uutils::ls },
    Applet { name: "md5sum", main: tools::uutils::md5sum },
    Applet { name: "mkdir", main: tools::uutils::mkdir },
    Applet { name: "mkfifo", main: tools::uutils::mkfifo },
    Applet { name: "mknod", main: tools::uutils::mknod },
    Applet { name: "mktemp", main: tools::uutils::mktemp },
    Applet { name: "more", main: tools::uutils::more },
    Applet { name: "mv", main: tools::uutils::mv },
    Applet { name: "networkctl", main: network::networkctl },
    Applet { name: "nice", main: tools::uutils::nice },
    Applet { name: "nohup", main: tools::uutils::nohup },
    Applet { name: "nproc", main: tools::uutils::nproc },
    Applet { name: "od", main: tools::uutils::od },
    Applet { name: "printenv", main: tools::uutils::printenv },
    Applet { name: "printf", main: tools::uutils::printf },
    Applet { name: "pwd", main: tools::uutils::pwd },
    Applet { name: "readlink", main: tools::uutils::readlink },
    Applet { name: "realpath", main: tools::uutils::realpath },
    Applet { name: "rm", main: tools::uutils::rm },
    Applet { name: "rmdir", main: tools::uutils::rmdir },
    Applet { name: "sed", main: tools::uutils::sed },
    Applet { name: "seq", main: tools::uutils::seq },
    Applet { name: "sftp-server", main: ssh::sftp_server },
    Applet { name: "sh", main: tools::shell::sh },
    Applet { name: "sha256sum", main: tools::uutils::sha256sum },
    Applet { name: "sleep", main: tools::uutils::sleep },
    Applet { name: "sort", main: tools::uutils::sort },
    Applet { name: "split", main: tools::uutils::split },
    Applet { name: "sshd", main: ssh::sshd },
    Applet { name: "stat", main: tools::uutils::stat },
    Applet { name: "stty", main: tools::uutils::stty },
    Applet { name: "sync", main: tools::uutils::sync },
    Applet { name: "systemd-networkd", main: network::networkd },
    Applet { name: "systemd-networkd-wait-online", main: network::wait_online },
    Applet { name: "tail", main: tools::uutils::tail },
    Applet { name: "tee", main: tools::uutils::tee },
    Applet { name: "test", main: tools::uutils::test },
    Applet { name: "timeout", main: tools::uutils::timeout },
    Applet { name: "touch", main: tools::uutils::touch },
    Applet { name: "tr", main: tools::uutils::tr },
    Applet { name: "true", main: tools::uutils::r#true },
    Applet { name: "truncate", main: tools::uutils::truncate },
    Applet { name: "tty", main: tools::uutils::tty },
    Applet { name: "uname", main: tools::uutils::uname },
    Applet { name: "uniq", main: tools::uutils::uniq },
    Applet { name: "vi", main: tools::editor::vi },
    Applet { name: "wc", main: tools::uutils::wc },
    Applet { name: "whoami", main: tools::uutils::whoami },
    Applet { name: "xargs", main: tools::uutils::xargs },
    Applet { name: "yes", main: tools::uutils::yes },
];

/// The applet of this name.
pub fn find(name: &str) -> Option<&'static Applet> {
    ALL.iter().find(|applet| applet.name == name)
}
