//! What of `HostConfig` this engine does not do, and which namespaces it asks for.

use super::answer::Failure;
use super::settings::Host;
use crate::bundle::namespaces::{Namespaces, Origin};

impl Host {
    /// Whose namespaces the container is to be in.
    ///
    /// # Errors
    /// When a mode is none.
    pub fn namespaces(&self) -> Result<Namespaces, Failure> {
        let read = |what: &str, mode: &str, of_others: bool| {
            Origin::parse(mode)
                .filter(|origin| of_others || origin.container().is_none())
                .ok_or_else(|| Failure::bad(format!("invalid {what} mode: {mode}")))
        };
        Ok(Namespaces {
            pid: read("PID", &self.pid_mode, true)?,
            ipc: read("IPC", &self.ipc_mode, true)?,
            uts: read("UTS", &self.uts_mode, false)?,
            cgroup: read("cgroup namespace", &self.cgroupns_mode, false)?,
        })
    }

    /// An error for what would be accepted and then not be so.
    pub(super) fn refuse_what_is_not_done(&self) -> Result<(), Failure> {
        // Of no meaning here: there is no such policy.
        let known = |one: &str| {
            let one = one.replace(':', "=");
            one.starts_with("no-new-privileges")
                || matches!(one.as_str(), "seccomp=unconfined" | "apparmor=unconfined" | "label=disable")
        };
        let not = |what: &str| Err(Failure::bad(format!("{what} is not supported by this engine")));
        let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        match self {
            _ if !matches!(self.userns_mode.as_str(), "" | "host") => not("UsernsMode"),
            _ if !self.security_opt.iter().flatten().all(|one| known(one)) => {
                not("SecurityOpt other than no-new-privileges and seccomp=unconfined")
            }
            _ if !matches!(
                self.log_config.kind.as_str(),
                "" | "json-file" | "local" | "journald" | "none"
            ) =>
            {
                not(&format!("logging driver {}", self.log_config.kind))
            }
            _ if !matches!(self.runtime.as_deref(), None | Some("" | "runc")) => {
                not("a Runtime other than runc")
            }
            _ if !matches!(self.volume_driver.as_str(), "" | "local") => {
                not("a VolumeDriver other than local")
            }
            _ if !self.cgroup_parent.is_empty() => {
                not("CgroupParent: a container is in the cgroup of its unit; it")
            }
            _ if some(&self.links) => not("Links: use a network of your own, where names are known; it"),
            _ if some(&self.device_cgroup_rules) => not("DeviceCgroupRules"),
            _ if self.storage_opt.as_ref().is_some_and(|all| !all.is_empty()) => not("StorageOpt"),
            _ if self.device_requests.as_ref().is_some_and(|all| !all.is_empty()) => not("DeviceRequests"),
            _ => self.namespaces().map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn host(value: Value) -> Host {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_not_done_is_refused() {
        for bad in [
            json!({ "PidMode": "container:" }),
            json!({ "PidMode": "machine" }),
            json!({ "UTSMode": "container:x" }),
            json!({ "UsernsMode": "private" }),
            json!({ "SecurityOpt": ["seccomp=/profile.json"] }),
            json!({ "LogConfig": { "Type": "gelf" } }),
            json!({ "CgroupParent": "/x" }),
            json!({ "Links": ["a:b"] }),
            json!({ "Runtime": "kata" }),
            json!({ "DeviceRequests": [{}] }),
        ] {
            assert!(host(bad.clone()).refuse_what_is_not_done().is_err(), "{bad}");
        }
        for good in [
            json!({ "IpcMode": "private", "LogConfig": { "Type": "", "Config": null } }),
            json!({ "PidMode": "host", "IpcMode": "container:x", "CgroupnsMode": "host", "UTSMode": "host" }),
            json!({ "Links": null, "StorageOpt": {}, "DeviceRequests": [], "Runtime": "runc" }),
        ] {
            assert!(host(good.clone()).refuse_what_is_not_done().is_ok(), "{good}");
        }
    }
}
