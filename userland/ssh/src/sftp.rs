//! `sftp-server`: file transfer over standard input and output, as the user who runs it.
//!
//! The kernel decides what the user may do; this only carries it out. Files and folders are named by
//! handles, of which there are only so many, and nothing is read beyond what one answer holds.
//!
//! Source: draft-ietf-secsh-filexfer-02 (version 3), OpenSSH's PROTOCOL for the extensions.

mod attributes;
mod extension;
mod handles;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use russh_sftp::protocol::{
    Attrs, Data, ExtendedReply, File, FileAttributes, Handle, Name, OpenFlags, Packet, Status, StatusCode,
    Version,
};
use russh_sftp::server::{Handler, StatusReply};
use tokio::sync::oneshot;

use attributes::{apply, of};
use handles::Handles;

/// The most bytes of one answer to a read.
const MOST_READ: u32 = 255 << 10;
/// The names of one answer about a folder.
const NAMES: usize = 100;

type Answer<T> = Result<T, StatusReply>;

/// The server for one client, on standard input and output.
pub fn sftp_server(args: Vec<OsString>) -> ExitCode {
    if args.len() > 1 {
        eprintln!(
            "sftp-server: serves file transfer on standard input and output; sshd starts it for sftp and scp"
        );
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("sftp-server: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        let (here, gone) = oneshot::channel();
        let stream = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
        russh_sftp::server::run(stream, Server { handles: Handles::default(), _here: here }).await;
        // The server lives in a task: it has ended when its end of the channel is gone.
        let _ = gone.await;
    });
    ExitCode::SUCCESS
}

struct Server {
    handles: Handles,
    _here: oneshot::Sender<()>,
}

/// The protocol's word for an error of the kernel's.
fn refused(error: io::Error) -> StatusReply {
    let code = match error.kind() {
        io::ErrorKind::NotFound => StatusCode::NoSuchFile,
        io::ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
        io::ErrorKind::Unsupported => StatusCode::OpUnsupported,
        _ => StatusCode::Failure,
    };
    code.with_message(error.to_string())
}

/// The answer that something was done, or not.
fn status(id: u32, done: io::Result<()>) -> Answer<Status> {
    done.map_err(refused)?;
    Ok(Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Success".to_owned(),
        language_tag: String::new(),
    })
}

/// An empty name is the folder that the client starts in.
fn path(name: &str) -> &Path {
    Path::new(if name.is_empty() { "." } else { name })
}

impl Handler for Server {
    type Error = StatusReply;

    fn unimplemented(&self) -> StatusReply {
        StatusCode::OpUnsupported.into()
    }

    async fn init(&mut self, _version: u32, _extensions: HashMap<String, String>) -> Answer<Version> {
        let mut version = Version::new();
        version.extensions =
            extension::ALL.iter().map(|(name, at)| ((*name).to_owned(), (*at).to_owned())).collect();
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        name: String,
        flags: OpenFlags,
        attributes: FileAttributes,
    ) -> Answer<Handle> {
        let create = flags.contains(OpenFlags::CREATE);
        let exclusive = flags.contains(OpenFlags::EXCLUDE);
        let file = OpenOptions::new()
            .read(flags.contains(OpenFlags::READ))
            .write(flags.contains(OpenFlags::WRITE) && !flags.contains(OpenFlags::APPEND))
            .append(flags.contains(OpenFlags::APPEND))
            .create(create && !exclusive)
            .create_new(create && exclusive)
            .truncate(flags.contains(OpenFlags::TRUNCATE) && !flags.contains(OpenFlags::APPEND))
            .mode(attributes.permissions.unwrap_or(0o666) & 0o7777)
            .open(path(&name))
            .map_err(refused)?;
        Ok(Handle { id, handle: self.handles.file(file).map_err(refused)? })
    }

    async fn close(&mut self, id: u32, handle: String) -> Answer<Status> {
        status(id, self.handles.close(&handle))
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, length: u32) -> Answer<Data> {
        let mut data = vec![0; length.min(MOST_READ) as usize];
        let read = self
            .handles
            .get_file(&handle)
            .and_then(|file| file.read_at(&mut data, offset))
            .map_err(refused)?;
        if read == 0 && length > 0 {
            return Err(StatusCode::Eof.into());
        }
        data.truncate(read);
        Ok(Data { id, data })
    }

    async fn write(&mut self, id: u32, handle: String, offset: u64, data: Vec<u8>) -> Answer<Status> {
        status(id, self.handles.get_file(&handle).and_then(|file| file.write_all_at(&data, offset)))
    }

    async fn lstat(&mut self, id: u32, name: String) -> Answer<Attrs> {
        Ok(Attrs { id, attrs: of(&fs::symlink_metadata(path(&name)).map_err(refused)?) })
    }

    async fn stat(&mut self, id: u32, name: String) -> Answer<Attrs> {
        Ok(Attrs { id, attrs: of(&fs::metadata(path(&name)).map_err(refused)?) })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Answer<Attrs> {
        let about = self.handles.get_file(&handle).and_then(|file| file.metadata()).map_err(refused)?;
        Ok(Attrs { id, attrs: of(&about) })
    }

    async fn setstat(&mut self, id: u32, name: String, attributes: FileAttributes) -> Answer<Status> {
        let file = rustix::fs::open(
            path(&name),
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        status(id, file.map_err(io::Error::from).and_then(|file| apply(&attributes, &file)))
    }

    async fn fsetstat(&mut self, id: u32, handle: String, attributes: FileAttributes) -> Answer<Status> {
        status(id, self.handles.get_file(&handle).and_then(|file| apply(&attributes, file)))
    }

    async fn opendir(&mut self, id: u32, name: String) -> Answer<Handle> {
        let folder = path(&name);
        let entries = fs::read_dir(folder).map_err(refused)?;
        Ok(Handle { id, handle: self.handles.folder(entries, folder.to_owned()).map_err(refused)? })
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Answer<Name> {
        let mut files = Vec::new();
        for (name, path) in self.handles.names(&handle, NAMES).map_err(refused)? {
            let attributes = fs::symlink_metadata(path).as_ref().map(of).unwrap_or_default();
            let name = name.to_string_lossy();
            let longname = attributes::line(&attributes, &name);
            files.push(File { longname, filename: name.into_owned(), attrs: attributes });
        }
        if files.is_empty() { Err(StatusCode::Eof.into()) } else { Ok(Name { id, files }) }
    }

    async fn remove(&mut self, id: u32, name: String) -> Answer<Status> {
        status(id, fs::remove_file(path(&name)))
    }

    async fn mkdir(&mut self, id: u32, name: String, attributes: FileAttributes) -> Answer<Status> {
        let mode = attributes.permissions.unwrap_or(0o777) & 0o7777;
        status(id, DirBuilder::new().mode(mode).create(path(&name)))
    }

    async fn rmdir(&mut self, id: u32, name: String) -> Answer<Status> {
        status(id, fs::remove_dir(path(&name)))
    }

    async fn realpath(&mut self, id: u32, name: String) -> Answer<Name> {
        let real = real(path(&name)).map_err(refused)?;
        Ok(Name { id, files: vec![File::dummy(real.to_string_lossy())] })
    }

    async fn rename(&mut self, id: u32, old: String, new: String) -> Answer<Status> {
        // Version 3 must not replace what is there: the extension does.
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        let cwd = rustix::fs::CWD;
        status(
            id,
            rustix::fs::renameat_with(cwd, path(&old), cwd, path(&new), flags).map_err(io::Error::from),
        )
    }

    async fn readlink(&mut self, id: u32, name: String) -> Answer<Name> {
        let target = fs::read_link(path(&name)).map_err(refused)?;
        Ok(Name { id, files: vec![File::dummy(target.to_string_lossy())] })
    }

    async fn symlink(&mut self, id: u32, target: String, link: String) -> Answer<Status> {
        // OpenSSH sends the two names in the other order than the draft; every client follows OpenSSH.
        status(id, std::os::unix::fs::symlink(target, path(&link)))
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Answer<Packet> {
        match extension::run(&request, &data, &self.handles).map_err(refused)? {
            extension::Reply::Done => Ok(Packet::Status(status(id, Ok(()))?)),
            extension::Reply::Name(name) => Ok(Packet::Name(Name { id, files: vec![File::dummy(name)] })),
            extension::Reply::Bytes(data) => Ok(Packet::ExtendedReply(ExtendedReply { id, data })),
        }
    }
}

/// The whole path without links; its last part need not be there.
fn real(name: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let last = name.file_name().ok_or(error)?;
            let parent =
                name.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(fs::canonicalize(parent)?.join(last))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_path_may_end_in_what_is_not_there_yet() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(scratch.path()).unwrap();
        std::os::unix::fs::symlink(&folder, folder.join("link")).unwrap();
        assert_eq!(real(&folder.join("link/new")).unwrap(), folder.join("new"));
        assert_eq!(real(&folder.join("link/.")).unwrap(), folder);
        assert!(real(&folder.join("no/new")).is_err());
    }
}
