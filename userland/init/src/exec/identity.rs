//! Who the child becomes: user, groups, capabilities (credentials(7), capabilities(7)).

use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, Gid, Uid, capabilities_secure_bits,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_keep_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use unit::settings::ExecSettings;

use super::{Failure, dynamic_user, status};
use crate::users::{User, Users};

/// Who the child is to be.
#[derive(Debug)]
pub struct Identity {
    /// The user of `User=`; `None`: it stays root and its environment as it is.
    pub user: Option<User>,
    /// The user's number.
    pub uid: u32,
    /// The main group's number.
    pub gid: u32,
    groups: Vec<u32>,
    changes: bool,
}

/// Looks the unit's user and groups up, or finds a number for its dynamic user.
pub fn find(exec: &ExecSettings, users: &Users, privileged: bool) -> Result<Identity, Failure> {
    let unknown = |kind: &str, name: &str| {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        let status = if kind == "user" { status::USER } else { status::GROUP };
        Failure::new(status, format!("no {kind} is called {name}"), error)
    };
    let user = match exec.user.as_deref().filter(|_| !privileged) {
        Some(name) if exec.dynamic_user && users.find(name).is_none() => {
            Some(dynamic_user::take(name, exec, users).map_err(|error| {
                Failure::new(status::USER, format!("no number is free for {name}"), error)
            })?)
        }
        Some(name) => Some(users.user(name).ok_or_else(|| unknown("user", name))?),
        None => None,
    };
    let group = match exec.group.as_deref().filter(|_| !privileged) {
        Some(name) if exec.dynamic_user && exec.user.as_deref() == Some(name) => {
            users.group(name).or(user.as_ref().map(|user| user.gid))
        }
        Some(name) => Some(users.group(name).ok_or_else(|| unknown("group", name))?),
        None => None,
    };
    let mut groups = user.as_ref().map(|user| users.groups_of(&user.name)).unwrap_or_default();
    for name in exec.supplementary_groups.iter().filter(|_| !privileged) {
        groups.push(users.group(name).ok_or_else(|| unknown("group", name))?);
    }
    let uid = user.as_ref().map_or(0, |user| user.uid);
    let gid = group.or(user.as_ref().map(|user| user.gid)).unwrap_or(0);
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    let changes = user.is_some() || group.is_some() || groups != [0];
    Ok(Identity { user, uid, gid, groups, changes })
}

/// Takes the groups on.
pub fn join_groups(identity: &Identity) -> Result<(), Failure> {
    if !identity.changes {
        return Ok(());
    }
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let gid = Gid::from_raw(identity.gid);
    set_thread_groups(&groups)
        .map_err(|error| Failure::new(status::GROUP, "cannot set the groups", error))?;
    set_thread_res_gid(gid, gid, gid)
        .map_err(|error| Failure::new(status::GROUP, "cannot set the group", error))
}

/// Takes the user and the capabilities on, for good. Without `setuid` (`!`) the program does that itself.
pub fn assume(exec: &ExecSettings, identity: &Identity, setuid: bool) -> Result<(), Failure> {
    let ambient = CapabilitySet::from_bits_retain(exec.ambient_capabilities);
    let setuid = setuid && identity.changes;
    if let Some(keep) = exec.capability_bounding_set {
        bound(keep)?;
    }
    if setuid {
        // What is to stay must not be lost with root.
        let keeps = !ambient.is_empty() || exec.secure_bits != 0;
        if keeps && identity.uid != 0 {
            set_keep_capabilities(true)
                .map_err(|error| Failure::new(status::CAPABILITIES, "cannot keep capabilities", error))?;
        }
        let uid = Uid::from_raw(identity.uid);
        set_thread_res_uid(uid, uid, uid)
            .map_err(|error| Failure::new(status::USER, "cannot set the user", error))?;
    }
    let becomes_other = setuid && identity.uid != 0;
    if exec.secure_bits != 0 {
        secure(exec.secure_bits)?;
    }
    if !ambient.is_empty() || (becomes_other && exec.secure_bits != 0) {
        raise(ambient, becomes_other)?;
    }
    if !becomes_other && exec.capability_bounding_set.is_some() {
        lower(exec.capability_bounding_set.unwrap_or(u64::MAX))?;
    }
    Ok(())
}

/// Forbids this process and all that it starts to gain anything by executing a program.
pub fn forbid_new_privileges() -> Result<(), Failure> {
    set_no_new_privs(true)
        .map_err(|error| Failure::new(status::NO_NEW_PRIVILEGES, "cannot forbid new privileges", error))
}

/// Whether system calls may be filtered without forbidding new privileges.
pub fn is_admin() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

fn secure(bits: u32) -> Result<(), Failure> {
    let failed =
        |error: rustix::io::Errno| Failure::new(status::SECUREBITS, "cannot set the secure bits", error);
    // Needs CAP_SETPCAP in the effective set, which a change of user has emptied but not forgotten.
    let mut sets = rustix::thread::capabilities(None).map_err(failed)?;
    sets.effective |= sets.permitted & CapabilitySet::SETPCAP;
    set_capabilities(None, sets).map_err(failed)?;
    let have = capabilities_secure_bits().map_err(failed)?;
    set_capabilities_secure_bits(have | CapabilitiesSecureBits::from_bits_retain(bits)).map_err(failed)
}

/// Drops from the bounding set what is not in `keep`.
fn bound(keep: u64) -> Result<(), Failure> {
    for bit in 0..u64::BITS {
        let capability = 1_u64 << bit;
        if keep & capability != 0 {
            continue;
        }
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(capability)) {
            // The kernel does not know that many.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => {
                let what = format!("cannot drop capability {bit}");
                return Err(Failure::new(status::CAPABILITIES, what, error));
            }
        }
    }
    Ok(())
}

/// Takes from what may be inherited what is not in `keep`.
fn lower(keep: u64) -> Result<(), Failure> {
    let failed =
        |error: rustix::io::Errno| Failure::new(status::CAPABILITIES, "cannot drop capabilities", error);
    let mut sets = rustix::thread::capabilities(None).map_err(failed)?;
    sets.inheritable &= CapabilitySet::from_bits_retain(keep);
    set_capabilities(None, sets).map_err(failed)
}

/// Makes capabilities ambient; `only` leaves nothing but them.
fn raise(ambient: CapabilitySet, only: bool) -> Result<(), Failure> {
    let failed = |error: rustix::io::Errno| {
        Failure::new(status::CAPABILITIES, "cannot raise ambient capabilities", error)
    };
    let mut sets = rustix::thread::capabilities(None).map_err(failed)?;
    sets.inheritable |= ambient;
    if only {
        sets = CapabilitySets { effective: ambient, permitted: ambient, inheritable: ambient };
    }
    set_capabilities(None, sets).map_err(failed)?;
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if ambient.contains(capability) {
            configure_capability_in_ambient_set(capability, true).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_from_everywhere_once() {
        let users =
            Users::parse("core:x:500:501::/home/core:/bin/sh\n", "docker:x:233:core\nx:x:7:\ny:x:501:core\n");
        let exec = ExecSettings {
            user: Some("core".into()),
            supplementary_groups: vec!["x".into(), "docker".into()],
            ..ExecSettings::default()
        };
        let identity = find(&exec, &users, false).unwrap();
        assert_eq!((identity.uid, identity.gid, identity.groups.as_slice()), (500, 501, &[7, 233, 501][..]));
        let identity = find(&exec, &users, true).unwrap();
        assert!(identity.user.is_none() && !identity.changes);
    }

    #[test]
    fn unknown_names_have_systemds_codes() {
        let code = |exec: &ExecSettings| find(exec, &Users::default(), false).unwrap_err().code;
        assert_eq!(code(&ExecSettings { user: Some("x".into()), ..Default::default() }), 217);
        assert_eq!(code(&ExecSettings { group: Some("x".into()), ..Default::default() }), 216);
    }
}
