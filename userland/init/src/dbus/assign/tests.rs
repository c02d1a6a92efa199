//! What clients send, and what the loader reads of it.

use unit::{Sources, Text, UnitName};
use zvariant::{OwnedValue, Value};

use super::*;

fn own(value: impl Into<Value<'static>>) -> OwnedValue {
    OwnedValue::try_from(value.into()).unwrap()
}

fn structure(fields: Vec<Value<'static>>) -> Value<'static> {
    property::structure(fields)
}

fn text_of(unit: &str, name: &str, value: impl Into<Value<'static>>) -> Result<String, Failure> {
    let text = file(unit, "", &[(name.to_owned(), own(value))])?;
    Ok(text.trim().replace('\n', "|"))
}

#[test]
fn properties_become_lines() {
    let line = |name: &str, value: Value<'static>| text_of("a.service", name, value).unwrap();
    assert_eq!(line("Description", "50% of\\".into()), "[Unit]|Description=50%% of\\\\");
    assert_eq!(line("MemoryMax", 104_857_600u64.into()), "[Service]|MemoryMax=104857600");
    assert_eq!(line("MemoryMax", u64::MAX.into()), "[Service]|MemoryMax=infinity");
    assert_eq!(line("MemoryMaxScale", (u32::MAX / 2).into()), "[Service]|MemoryMax=50.00%");
    assert_eq!(line("CPUQuotaPerSecUSec", 250_000u64.into()), "[Service]|CPUQuota=25.00%");
    assert_eq!(line("CPUWeight", u64::MAX.into()), "[Service]|CPUWeight=");
    assert_eq!(line("RuntimeMaxUSec", 5_000_000u64.into()), "[Service]|RuntimeMaxSec=5000000us");
    assert_eq!(line("RemainAfterExit", true.into()), "[Service]|RemainAfterExit=yes");
    assert_eq!(line("UMask", 0o27u32.into()), "[Service]|UMask=0027");
    assert_eq!(line("Nice", 5i32.into()), "[Service]|Nice=5");
    assert_eq!(
        line("Environment", property::strings(["A=b c", "D=%h\"x\""])),
        "[Service]|Environment=\"A=b c\" \"D=%%h\\\"x\\\"\""
    );
    assert_eq!(
        line("After", property::strings(["b.service", "c.target"])),
        "[Unit]|After=b.service c.target"
    );
    assert_eq!(
        line("CapabilityBoundingSet", 0b10_0001u64.into()),
        "[Service]|CapabilityBoundingSet=chown kill"
    );
    let arguments = property::strings(["/bin/echo", "a b", "$HOME", ";", "100%", "é\"\n"]);
    let command = structure(vec!["/bin/echo".into(), arguments, true.into()]);
    assert_eq!(
        line("ExecStart", property::array("(sasb)", [command])),
        "[Service]|ExecStart=-/bin/echo \"a b\" $HOME \";\" \"100%%\" \"é\\\"\\n\""
    );
    let named =
        structure(vec!["/bin/sh".into(), property::strings(["-sh"]), property::strings(["privileged"])]);
    assert_eq!(line("ExecStartEx", property::array("(sasas)", [named])), "[Service]|ExecStart=+@/bin/sh -sh");
    let timer = |name: &str, value| text_of("a.timer", name, value).unwrap();
    let base = structure(vec!["OnActiveUSec".into(), 1_000_000u64.into()]);
    assert_eq!(timer("TimersMonotonic", property::array("(st)", [base])), "[Timer]|OnActiveSec=1000000us");
    let calendar = structure(vec!["OnCalendar".into(), "*-*-* 00:00:00".into()]);
    assert_eq!(
        timer("TimersCalendar", property::array("(ss)", [calendar])),
        "[Timer]|OnCalendar=*-*-* 00:00:00"
    );
}

#[test]
fn halves_of_a_limit_are_one_line() {
    let both = [("LimitNOFILE".to_owned(), own(99u64)), ("LimitNOFILESoft".to_owned(), own(77u64))];
    assert_eq!(file("a.service", "", &both).unwrap(), "\n[Service]\nLimitNOFILE=77:99\n");
}

#[test]
fn nothing_ends_its_line_and_states_cannot_be_set() {
    for (name, value) in [
        ("Description", Value::from("a\nExecStart=/bin/evil")),
        ("User", "root\n[Service]".into()),
        ("RuntimeMaxUSec", "soon".into()),
        (
            "ExecStart",
            property::array(
                "(sasb)",
                [structure(vec!["no-path".into(), property::strings(["x"]), false.into()])],
            ),
        ),
    ] {
        let refused = text_of("a.service", name, value).unwrap_err();
        assert_eq!(refused.name, "org.freedesktop.DBus.Error.InvalidArgs", "{name}");
    }
    let line = text_of("a.service", "Environment", property::strings(["A=b\n[Unit]"])).unwrap();
    assert_eq!(line.matches('|').count(), 1, "{line}");
    for name in ["ActiveState", "MainPID", "ExecMainPID", "InactiveExitTimestamp", "Bad=Name"] {
        assert!(text_of("a.service", name, Value::from("x")).is_err(), "{name}");
    }
}

#[test]
fn the_loader_reads_what_was_meant() {
    let command = structure(vec![
        "/bin/sh".into(),
        property::strings(["/bin/sh", "-c", "echo \"%h\" 'x' \\; exit 3", "", "$$"]),
        false.into(),
    ]);
    let properties = [
        ("ExecStart".to_owned(), own(property::array("(sasb)", [command]))),
        ("Environment".to_owned(), own(property::strings(["X=a \"b\" %i \\ '"]))),
        ("WorkingDirectory".to_owned(), own("/tmp/a%b c")),
    ];
    let text = file("a.service", "# made\n", &properties).unwrap();
    let fragment = Some(Text { path: "/run/a.service".into(), text });
    let sources = Sources { fragment, ..Sources::default() };
    let unit =
        unit::load::load(&UnitName::parse("a.service").unwrap(), &Ok(sources), None, &unit::Host::default());
    assert_eq!(unit.warnings, Vec::<String>::new());
    let argv = &unit.service().unwrap().commands(unit::Role::Start)[0].argv;
    assert_eq!(argv[1..], ["-c", "echo \"%h\" 'x' \\; exit 3", "", "$$"]);
    assert_eq!(unit.exec.environment, [("X".to_owned(), "a \"b\" %i \\ '".to_owned())]);
    assert_eq!(unit.exec.working_directory.as_ref().unwrap().path.as_deref(), Some("/tmp/a%b c"));
}
