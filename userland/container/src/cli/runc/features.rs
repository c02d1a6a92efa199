//! `runc features`: what this runtime can, for engines that ask before they need it.
//!
//! Source: OCI runtime specification "Features Structure".

use serde_json::json;

use super::{Error, during};
use crate::bundle::capability;
use crate::cli::show;
use crate::run::{hooks, mount_options};

/// Print what this runtime supports
#[derive(Debug, clap::Args)]
pub struct Features {}

impl Features {
    pub(super) fn run(self) -> Result<u8, Error> {
        let value = json!({
            "ociVersionMin": "1.0.0",
            "ociVersionMax": hooks::VERSION,
            "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
            "mountOptions": mount_options::known(),
            "linux": {
                "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
                "capabilities": capability::names(),
                "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true },
                "seccomp": {
                    "enabled": true,
                    "actions": [
                        "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                        "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
                    ],
                    "operators": [
                        "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                        "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
                    ],
                    "archs": ["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
                    "knownFlags": [
                        "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
                        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
                    ],
                    "supportedFlags": [
                        "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC",
                        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
                    ],
                },
                "apparmor": { "enabled": true },
                "selinux": { "enabled": true },
                "intelRdt": { "enabled": false },
                "mountExtensions": { "idmap": { "enabled": true } },
            },
            "annotations": { "io.corten.runc.version": env!("CARGO_PKG_VERSION") },
            "potentiallyUnsafeConfigAnnotations": [],
        });
        show::line(&during("features", serde_json::to_string_pretty(&value).map_err(std::io::Error::from))?);
        Ok(0)
    }
}
