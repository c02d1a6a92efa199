//! QEMU's control socket, as far as power buttons go (QMP, docs/interop/qmp-spec).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::{Error, Result};

/// Says one command and waits for its answer.
pub(crate) fn execute(socket: &Path, command: &str) -> Result<()> {
    let fault = |error: std::io::Error| Error::Qmp(format!("{}: {error}", socket.display()));
    let mut stream = UnixStream::connect(socket).map_err(fault)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(fault)?;
    let mut lines = BufReader::new(stream.try_clone().map_err(fault)?).lines();
    for command in ["qmp_capabilities", command] {
        stream.write_all(format!("{{\"execute\":\"{command}\"}}\n").as_bytes()).map_err(fault)?;
        loop {
            let line =
                lines.next().ok_or_else(|| Error::Qmp("closed before it answered".into()))?.map_err(fault)?;
            let answer: serde_json::Value =
                serde_json::from_str(&line).map_err(|error| Error::Qmp(format!("{error}: {line}")))?;
            if let Some(error) = answer.get("error") {
                return Err(Error::Qmp(format!("{command}: {error}")));
            }
            if answer.get("return").is_some() {
                break;
            }
        }
    }
    Ok(())
}
