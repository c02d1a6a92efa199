//! Filters, run by an interpreter of the few instructions that they are made of.

use super::*;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

/// What the filter answers to a call.
fn answer(profile: &str, arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let seccomp: LinuxSeccomp = serde_json::from_str(profile).unwrap();
    let filter = Filter::compile(&seccomp).unwrap();
    let word = |offset: u32| match offset {
        NUMBER => number,
        ARCHITECTURE => arch,
        offset => {
            let arg = args[((offset - ARGUMENTS) / 8) as usize];
            if (offset - ARGUMENTS).is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 }
        }
    };
    let (mut loaded, mut at) = (0_u32, 0_usize);
    loop {
        let (code, yes, no, operand) = filter.program[at];
        at += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { yes } else { no });
        match code {
            LOAD => loaded = word(operand),
            AND => loaded &= operand,
            JUMP => at += operand as usize,
            JUMP_EQUAL => jump(loaded == operand),
            JUMP_GREATER => jump(loaded > operand),
            JUMP_GREATER_EQUAL => jump(loaded >= operand),
            RETURN => return operand,
            other => panic!("{other}"),
        }
    }
}

const ALLOW: u32 = 0x7fff_0000;
const REFUSE: u32 = 0x0005_0001;

fn with(op: &str, value: u64, two: u64) -> String {
    format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"syscalls":[{{"names":["dup3"],"action":"SCMP_ACT_ALLOW",
        "args":[{{"index":2,"value":{value},"valueTwo":{two},"op":"SCMP_CMP_{op}"}}]}}]}}"#
    )
}

#[test]
fn conditions_compare_all_64_bits() {
    let values = [0, 1, 7, 8, 9, 0xffff_ffff, 1 << 32, (1 << 32) + 7, (1 << 32) + 8, (2 << 32) + 8, u64::MAX];
    for wanted in values {
        for value in values {
            let held: [(&str, bool); 7] = [
                ("EQ", value == wanted),
                ("NE", value != wanted),
                ("LT", value < wanted),
                ("LE", value <= wanted),
                ("GT", value > wanted),
                ("GE", value >= wanted),
                ("MASKED_EQ", value & wanted == 8),
            ];
            for (op, holds) in held {
                let got = answer(&with(op, wanted, 8), X86_64, 292, [0, 0, value, 0, 0, 0]);
                assert_eq!(got, if holds { ALLOW } else { REFUSE }, "{value:#x} {op} {wanted:#x}");
            }
        }
    }
}

#[test]
fn rules_are_tried_in_order_and_conditions_all_hold() {
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"syscalls":[
        {"names":["dup3","nosuchcall"],"action":"SCMP_ACT_ERRNO","errnoRet":5,
         "args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":1,"value":2,"op":"SCMP_CMP_EQ"}]},
        {"names":["dup3"],"action":"SCMP_ACT_ERRNO","errnoRet":6,
         "args":[{"index":0,"value":8,"op":"SCMP_CMP_EQ"},{"index":0,"value":9,"op":"SCMP_CMP_EQ"}]},
        {"names":["getpid"],"action":"SCMP_ACT_KILL_PROCESS"},
        {"names":["getppid"],"action":"SCMP_ACT_TRACE","errnoRet":7}]}"#;
    let dup3 = |first, second| answer(profile, X86_64, 292, [first, second, 0, 0, 0, 0]);
    assert_eq!(dup3(1, 2), 0x0005_0005);
    assert_eq!(dup3(1, 3), ALLOW);
    assert_eq!((dup3(8, 0), dup3(9, 0)), (0x0005_0006, 0x0005_0006), "one argument twice: either");
    assert_eq!(answer(profile, X86_64, 39, [0; 6]), KILL_PROCESS);
    assert_eq!(answer(profile, X86_64, 110, [0; 6]), 0x7ff0_0007);
    assert_eq!(answer(profile, I386, 20, [0; 6]), KILL_PROCESS, "getpid of a program of 32 bits");
    assert_eq!(answer(profile, X86_64, 39 | X32, [0; 6]), KILL_PROCESS, "x32 is not named");
    assert_eq!(answer(profile, 0xc000_00b7, 0, [0; 6]), KILL_PROCESS, "another processor");
}

#[test]
fn x32_has_the_same_calls_where_it_is_named() {
    let profile = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X32"],
        "syscalls":[{"names":["getpid"],"action":"SCMP_ACT_ALLOW"}]}"#;
    assert_eq!(answer(profile, X86_64, 39, [0; 6]), ALLOW);
    assert_eq!(answer(profile, X86_64, 39 | X32, [0; 6]), ALLOW);
    assert_eq!(answer(profile, X86_64, 38 | X32, [0; 6]), REFUSE);
}

#[test]
fn what_is_newer_than_the_profile_is_not_there() {
    let profile = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read","close_range"],"action":"SCMP_ACT_ALLOW"}]}"#;
    assert_eq!(answer(profile, X86_64, 436, [0; 6]), ALLOW);
    assert_eq!(answer(profile, X86_64, 1, [0; 6]), REFUSE);
    assert_eq!(answer(profile, X86_64, 437, [0; 6]), 0x0005_0000 | ENOSYS);
}

#[test]
fn the_default_profile_is_short() {
    let profile = crate::bundle::seccomp::default_for(&oci_spec::runtime::Capabilities::new());
    let filter = Filter::compile(&serde_json::from_value(profile).unwrap()).unwrap();
    assert!(filter.program.len() < 400, "{}", filter.program.len());
    let bad = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO",
        "args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#;
    assert!(Filter::compile(&serde_json::from_str(bad).unwrap()).is_err());
}
