//! The datagrams of sd_notify(3).

/// A parsed message. Unknown assignments are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notify {
    /// READY=1
    pub ready: bool,
    /// RELOADING=1
    pub reloading: bool,
    /// STOPPING=1
    pub stopping: bool,
    /// STATUS=
    pub status: Option<String>,
    /// ERRNO=
    pub errno: Option<i32>,
    /// MAINPID=
    pub main_pid: Option<u32>,
    /// WATCHDOG=1
    pub watchdog: bool,
    /// WATCHDOG=trigger
    pub watchdog_trigger: bool,
    /// WATCHDOG_USEC=
    pub watchdog_usec: Option<u64>,
    /// EXTEND_TIMEOUT_USEC=
    pub extend_timeout_usec: Option<u64>,
    /// BARRIER=1 (the sender waits until the descriptor it passed is closed)
    pub barrier: bool,
    /// FDSTORE=1
    pub store: bool,
    /// FDSTOREREMOVE=1
    pub store_remove: bool,
    /// FDNAME=, of what is stored or removed
    pub descriptor_name: Option<String>,
    /// How many descriptors came along: the shell holds them.
    pub descriptors: u32,
}

impl Notify {
    /// Reads a datagram of any bytes. The last assignment of a name counts.
    pub fn parse(datagram: &[u8]) -> Notify {
        let mut message = Notify::default();
        for line in String::from_utf8_lossy(datagram).split('\n') {
            let Some((name, value)) = line.split_once('=') else { continue };
            match name {
                "READY" => message.ready |= value == "1",
                "RELOADING" => message.reloading |= value == "1",
                "STOPPING" => message.stopping |= value == "1",
                "STATUS" => message.status = Some(value.chars().filter(|c| !c.is_control()).collect()),
                "ERRNO" => message.errno = value.parse().ok(),
                "MAINPID" => message.main_pid = value.parse().ok(),
                "WATCHDOG" if value == "1" => message.watchdog = true,
                "WATCHDOG" if value == "trigger" => message.watchdog_trigger = true,
                "WATCHDOG_USEC" => message.watchdog_usec = value.parse().ok(),
                "EXTEND_TIMEOUT_USEC" => message.extend_timeout_usec = value.parse().ok(),
                "BARRIER" => message.barrier |= value == "1",
                "FDSTORE" => message.store |= value == "1",
                "FDSTOREREMOVE" => message.store_remove |= value == "1",
                "FDNAME" => message.descriptor_name = Some(value.to_string()).filter(|name| is_name(name)),
                _ => {}
            }
        }
        message
    }
}

/// A descriptor's name: no colon, nothing that is not seen, at most 255 bytes.
fn is_name(text: &str) -> bool {
    text.len() <= 255 && text.chars().all(|c| (c.is_ascii_graphic() || c == ' ') && c != ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_services_send() {
        let message = Notify::parse(b"READY=1\nSTATUS=Serving 3 clients\nMAINPID=42\nX=Y\nrubbish");
        let expected = Notify {
            ready: true,
            status: Some("Serving 3 clients".into()),
            main_pid: Some(42),
            ..Notify::default()
        };
        assert_eq!(message, expected);
        assert_eq!(Notify::parse(b"\xff\xfe=\0MAINPID=-1\nMAINPID=x"), Notify::default());
    }
}
