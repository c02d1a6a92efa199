//! The units of a simulation, made of random numbers.

/// A small generator (splitmix64): the same numbers everywhere and for ever.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

const KINDS: &[&str] = &[
    "Requires",
    "Wants",
    "BindsTo",
    "Requisite",
    "PartOf",
    "Upholds",
    "Conflicts",
    "Before",
    "After",
    "After",
    "OnFailure",
    "OnSuccess",
    "PropagatesStopTo",
    "PropagatesReloadTo",
];
/// The names of a simulation's units: some of each kind.
pub fn names(random: &mut Random) -> Vec<String> {
    let mut names: Vec<String> = (0..3 + random.below(6)).map(|index| format!("s{index}.service")).collect();
    names.extend((0..random.below(3)).map(|index| format!("t{index}.target")));
    for (kind, most) in [("socket", 3), ("timer", 2), ("path", 2)] {
        names.extend((0..random.below(most)).map(|index| format!("s{index}.{kind}")));
    }
    names.extend(["a.socket", "m.mount", "m.automount", "dev-x.device", "dev-x.swap"].map(str::to_owned));
    names
}

pub fn unit_file(random: &mut Random, unit: &str, names: &[String]) -> String {
    let mut text = String::from("[Unit]\nAllowIsolate=yes\nStartLimitBurst=3\n");
    if random.one_in(6) {
        text.push_str("StopWhenUnneeded=yes\n");
    }
    if random.one_in(8) {
        text.push_str("JobTimeoutSec=30\n");
    }
    for _ in 0..random.below(4) {
        text.push_str(&format!("{}={}\n", random.pick(KINDS), random.pick::<String>(names)));
    }
    match unit.rsplit_once('.').unwrap() {
        (_, "service") => {
            let kind = *random.pick(&["simple", "oneshot", "notify", "exec", "forking"]);
            text.push_str(&format!("[Service]\nType={kind}\n"));
            text.push_str(&format!("Restart={}\n", random.pick(&["no", "on-failure", "on-abnormal"])));
            text.push_str(&format!("RemainAfterExit={}\n", random.pick(&["yes", "no"])));
            text.push_str(&format!("KillMode={}\n", random.pick(&["control-group", "mixed", "process"])));
            text.push_str("FileDescriptorStoreMax=2\nNotifyAccess=all\nTimeoutSec=20\nExecStart=/bin/a\nExecReload=/bin/r\n");
            for (line, chances) in [
                ("ExecStartPre=/bin/b", 4),
                ("ExecStartPost=/bin/c", 4),
                ("ExecCondition=/bin/d", 8),
                ("ExecStop=/bin/e", 3),
                ("ExecStopPost=/bin/f", 3),
                ("WatchdogSec=5", 6),
                ("RuntimeMaxSec=40", 6),
            ] {
                if random.one_in(chances) {
                    text.push_str(&format!("{line}\n"));
                }
            }
        }
        (_, "socket") if unit == "a.socket" => {
            text.push_str(
                "[Socket]\nListenStream=/a\nAccept=yes\nMaxConnections=3\nMaxConnectionsPerSource=2\n",
            );
        }
        (stem, "socket") => {
            text.push_str(&format!("[Socket]\nListenStream=/{stem}\nTimeoutSec=20\n"));
            if random.one_in(3) {
                text.push_str("ExecStartPre=/bin/b\nExecStopPost=/bin/f\n");
            }
        }
        (_, "timer") => text.push_str(random.pick::<&str>(&[
            "[Timer]\nOnActiveSec=3\nOnUnitInactiveSec=7\n",
            "[Timer]\nOnCalendar=*:*:0/10\nPersistent=yes\n",
            "[Timer]\nOnActiveSec=5\nRemainAfterElapse=no\n",
        ])),
        (_, "path") => {
            text.push_str(random.pick::<&str>(&["[Path]\nPathExists=/flag\n", "[Path]\nPathChanged=/flag\n"]))
        }
        (_, "mount") => text.push_str("[Mount]\nWhat=/dev/x\nWhere=/m\nTimeoutSec=20\n"),
        (_, "automount") => text.push_str("[Automount]\nWhere=/m\n"),
        (_, "swap") => text.push_str("[Swap]\nWhat=/dev/x\nTimeoutSec=20\n"),
        _ => {}
    }
    text
}
