//! What the kernel and the shell around the engine report: mounts, swaps, devices, sockets, paths, clocks, names on the
//! bus, want of memory.

use std::collections::BTreeSet;

use super::{Engine, Machine};
use crate::machine::Wish;
use crate::{Action, Device, Event, JobKind, JobMode, MountEntry, SwapEntry, UnitName, UnitType, World};

impl Engine {
    pub(super) fn outside(&mut self, event: Event, world: &World<'_>) {
        match event {
            Event::MountsChanged { mounted } => self.mounts_changed(mounted, world),
            Event::SwapsChanged { active } => self.swaps_changed(active, world),
            Event::DevicesPlugged(devices) => self.plugged(devices, world),
            Event::DeviceGone { sysfs } => self.gone(&sysfs, world),
            Event::SocketsOpened { unit, outcome } => {
                self.with(&unit, world, |entry, stage| {
                    if let Machine::Socket(socket) = &mut entry.machine {
                        socket.opened(stage, outcome);
                    }
                });
            }
            Event::SocketReady { unit } => {
                self.with(&unit, world, |entry, stage| {
                    if let Machine::Socket(socket) = &mut entry.machine {
                        socket.ready(stage);
                    }
                });
            }
            Event::Connected { unit, connection } => {
                let known = self.with(&unit, world, |entry, stage| match &mut entry.machine {
                    Machine::Socket(socket) => {
                        socket.connected(stage, &connection);
                        true
                    }
                    _ => false,
                });
                if known != Some(true) {
                    self.fx.actions.push(Action::CloseConnection { id: connection.id });
                }
            }
            Event::PathTouched { unit, changed } => {
                self.with(&unit, world, |entry, stage| {
                    if let Machine::Path(path) = &mut entry.machine {
                        path.touched(stage, changed);
                    }
                });
            }
            Event::AutomountPlaced { unit, outcome } => {
                self.with(&unit, world, |entry, stage| {
                    if let Machine::Automount(automount) = &mut entry.machine {
                        automount.placed(stage, outcome);
                    }
                });
            }
            Event::AutomountWanted { unit, pid } => {
                self.with(&unit, world, |entry, stage| {
                    if let Machine::Automount(automount) = &mut entry.machine {
                        automount.wanted(stage, pid);
                    }
                });
            }
            Event::AutomountExpired { unit } => {
                self.with(&unit, world, |entry, stage| {
                    if let Machine::Automount(automount) = &mut entry.machine {
                        automount.expired(stage);
                    }
                });
            }
            Event::OomKilled { unit } => {
                self.with(&unit, world, |entry, stage| {
                    if let Machine::Service(service) = &mut entry.machine {
                        service.out_of_memory(stage);
                    }
                });
            }
            Event::BusName { name, owned } => {
                for unit in self.on_bus(&name) {
                    self.with(&unit, world, |entry, stage| {
                        if let Machine::Service(service) = &mut entry.machine {
                            service.bus_name_changed(stage, owned);
                        }
                    });
                }
            }
            Event::Abandon { unit } => {
                self.with(&unit, world, |entry, stage| {
                    if let Machine::Scope(scope) = &mut entry.machine {
                        scope.abandon(stage);
                    }
                });
            }
            Event::ClockChanged => self.clock_changed(false, world),
            Event::TimezoneChanged => self.clock_changed(true, world),
            // all others are the engine's own
            _ => {}
        }
    }

    /// The services in memory that are known by this name on the bus.
    fn on_bus(&self, name: &str) -> Vec<UnitName> {
        let has_it = |entry: &super::Entry| {
            entry.base.unit.service().is_some_and(|service| service.bus_name.as_deref() == Some(name))
        };
        self.entries.iter().filter(|(_, entry)| has_it(entry)).map(|(unit, _)| unit.clone()).collect()
    }

    fn mounts_changed(&mut self, mounted: Vec<MountEntry>, world: &World<'_>) {
        // of several at one place the last one counts: it hides the others; an autofs waits for the real one
        let real = mounted.into_iter().filter(|entry| entry.fs_type != "autofs");
        self.mounts = real.map(|entry| (entry.place.clone(), entry)).collect();
        let names = self.of_table(UnitType::Mount, &self.mounts.keys().cloned().collect::<Vec<_>>(), world);
        for name in names {
            let entry = name.to_path().and_then(|place| self.mounts.get(&place).cloned());
            self.with(&name, world, |unit, stage| {
                if let Machine::Mount(mount) = &mut unit.machine {
                    mount.table(stage, entry);
                }
            });
        }
    }

    fn swaps_changed(&mut self, active: Vec<SwapEntry>, world: &World<'_>) {
        self.swaps = active.into_iter().map(|entry| (entry.what.clone(), entry)).collect();
        let names = self.of_table(UnitType::Swap, &self.swaps.keys().cloned().collect::<Vec<_>>(), world);
        for name in names {
            let entry = name.to_path().and_then(|what| self.swaps.get(&what).cloned());
            self.with(&name, world, |unit, stage| {
                if let Machine::Swap(swap) = &mut unit.machine {
                    swap.table(stage, entry);
                }
            });
        }
    }

    /// The units of a type in memory and in a table of the kernel's; those that are new come into memory.
    fn of_table(&mut self, kind: UnitType, paths: &[String], world: &World<'_>) -> BTreeSet<UnitName> {
        let mut names: BTreeSet<UnitName> =
            self.entries.keys().filter(|name| name.unit_type() == kind).cloned().collect();
        let fresh: Vec<UnitName> =
            paths.iter().filter_map(|path| UnitName::from_path(path, kind).ok()).collect();
        let unknown = fresh.iter().filter(|name| self.resolve(name).is_none()).cloned().collect::<Vec<_>>();
        self.bring_in_all(&unknown, world);
        names.extend(fresh);
        names
    }

    fn plugged(&mut self, devices: Vec<Device>, world: &World<'_>) {
        let mut names = BTreeSet::new();
        for device in devices {
            if let Some(old) = self.devices.insert(device.sysfs.clone(), device.clone()) {
                names.extend(device_names(&old));
            }
            names.extend(device_names(&device));
        }
        let names: Vec<UnitName> = names.into_iter().collect();
        let unknown = names.iter().filter(|name| self.resolve(name).is_none()).cloned().collect::<Vec<_>>();
        self.bring_in_all(&unknown, world);
        self.look_for_devices(&names, world);
    }

    fn gone(&mut self, sysfs: &str, world: &World<'_>) {
        if let Some(device) = self.devices.remove(sysfs) {
            self.look_for_devices(&device_names(&device), world);
        }
    }

    /// Brings device units up to what is known of their devices.
    fn look_for_devices(&mut self, names: &[UnitName], world: &World<'_>) {
        for name in names {
            let found = name.to_path().and_then(|path| {
                self.devices
                    .values()
                    .find(|device| device.paths.contains(&path))
                    .map(|device| device.sysfs.clone())
            });
            self.with(name, world, |entry, stage| {
                if let Machine::Device(device) = &mut entry.machine {
                    device.found(stage, found);
                }
            });
        }
    }

    /// CLOCK_REALTIME has jumped, or the time zone is another.
    fn clock_changed(&mut self, zone: bool, world: &World<'_>) {
        let timers: Vec<UnitName> =
            self.entries.keys().filter(|name| name.unit_type() == UnitType::Timer).cloned().collect();
        for name in timers {
            self.with(&name, world, |entry, stage| {
                if let Machine::Timer(timer) = &mut entry.machine {
                    timer.clock_changed(stage, zone);
                }
            });
        }
    }

    /// Starts a unit because of another one that triggers it.
    pub(super) fn grant(&mut self, wish: Wish, world: &World<'_>) {
        let unit = self.bring_in(&wish.unit, world);
        if let Some(id) = wish.connection {
            let taken = self.with(&unit, world, |entry, _| match &mut entry.machine {
                Machine::Service(service) if entry.base.active.is_down() => {
                    service.connection = Some((wish.by.clone(), id));
                    true
                }
                _ => false,
            });
            if taken != Some(true) {
                self.with(&wish.by, world, |entry, stage| entry.life().wish_refused(stage, Some(id)));
                return;
            }
        }
        if !self.enqueue(JobKind::Start, &unit, JobMode::Replace, world) {
            self.with(&unit, world, |entry, _| {
                if let Machine::Service(service) = &mut entry.machine {
                    service.connection = None;
                }
            });
            self.with(&wish.by, world, |entry, stage| entry.life().wish_refused(stage, wish.connection));
        }
    }

    /// A service is down for good: what it has stored goes, and the connection that it was started for.
    pub(super) fn let_go(&mut self, unit: &UnitName, world: &World<'_>) {
        let Some(entry) = self.entries.get_mut(unit) else { return };
        let Machine::Service(service) = &mut entry.machine else { return };
        if !entry.base.active.is_down() || entry.job.is_some() {
            return;
        }
        if !std::mem::take(&mut service.stored).is_empty() {
            self.fx.actions.push(Action::DropStore { unit: unit.clone(), name: None });
        }
        let Some((socket, id)) = service.connection.take() else { return };
        let failed = entry.base.active == crate::ActiveState::Failed;
        self.fx.actions.push(Action::CloseConnection { id });
        self.with(&socket, world, |entry, stage| {
            if let Machine::Socket(socket) = &mut entry.machine {
                socket.disconnected(stage, id);
            }
        });
        // an instance serves one connection and is then of no use; one that failed stays to be looked at
        if !failed {
            self.forget(unit);
        }
    }
}

fn device_names(device: &Device) -> Vec<UnitName> {
    device.paths.iter().filter_map(|path| UnitName::from_path(path, UnitType::Device).ok()).collect()
}
