//! `sftp-server`
pub fn sftp_server(_args: Vec<std::ffi::OsString>) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
