//! A service's defaults, and what makes one unusable; systemd.service(5).

use super::super::Draft;
use crate::settings::{ExitType, NotifyAccess, OomPolicy, Restart, ServiceType};
use crate::{Dependency, EmergencyAction, INFINITY, Role};

impl Draft<'_> {
    pub(super) fn service_defaults(&mut self) {
        let service = &mut self.service;
        if !self.set.contains("Type") {
            service.kind = match (&service.bus_name, service.commands(Role::Start).is_empty()) {
                (Some(_), _) => ServiceType::Dbus,
                (None, true) => ServiceType::Oneshot,
                (None, false) => ServiceType::Simple,
            };
        }
        if service.kind == ServiceType::Oneshot && !self.set.contains("TimeoutStartSec") {
            service.timeout_start = INFINITY;
        }
        let speaks = service.kind == ServiceType::Notify
            || self.set.contains("WatchdogSec")
            || service.descriptor_store_max > 0;
        if speaks && service.notify_access == NotifyAccess::None {
            service.notify_access = NotifyAccess::Main;
        }
        let ours = self.context.host.defaults.oom_policy;
        let policy = if self.cgroup.delegate { OomPolicy::Continue } else { ours };
        service.oom_policy.get_or_insert(policy);
        service.kind_known = true;
        if service.bus_name.is_some() && service.kind == ServiceType::Dbus {
            self.implied(Dependency::After, "dbus.socket");
            self.implied(Dependency::Requires, "dbus.socket");
        }
    }

    pub(super) fn verify_service(&self) -> Result<(), String> {
        let service = &self.service;
        let starts = service.commands(Role::Start).len();
        let ends = self.unit.success_action != EmergencyAction::None;
        let oneshot = service.kind == ServiceType::Oneshot;
        let refuse = |why: &str| Err(why.to_string());
        if starts == 0 && service.commands(Role::Stop).is_empty() && !ends {
            return refuse("Service has no ExecStart=, ExecStop=, or SuccessAction=.");
        }
        if starts == 0 && !oneshot {
            return refuse(
                "Service has no ExecStart= setting, which is only allowed for Type=oneshot services.",
            );
        }
        if starts == 0 && !service.remain_after_exit && !ends {
            return refuse(
                "Service has no ExecStart= and no SuccessAction= settings and does not have RemainAfterExit=yes set.",
            );
        }
        if starts > 1 && !oneshot {
            return refuse(
                "Service has more than one ExecStart= setting, which is only allowed for Type=oneshot services.",
            );
        }
        if oneshot && matches!(service.restart, Restart::Always | Restart::OnSuccess) {
            return refuse(
                "Service has Restart= set to either always or on-success, which isn't allowed for Type=oneshot services.",
            );
        }
        if oneshot && !service.restart_force.is_empty() {
            return refuse(
                "Service has RestartForceExitStatus= set, which isn't allowed for Type=oneshot services.",
            );
        }
        if oneshot && service.exit_type == ExitType::Cgroup {
            return refuse("Service has ExitType=cgroup set, which isn't allowed for Type=oneshot services.");
        }
        if service.kind == ServiceType::Dbus && service.bus_name.is_none() {
            return refuse("Service is of type D-Bus but no D-Bus service name has been specified.");
        }
        Ok(())
    }
}
