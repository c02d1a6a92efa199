//! Instructions of eBPF (Documentation/bpf/standardization/instruction-set.rst), as many as the programs here need.

/// A register.
pub type Register = u8;
/// The result, then the arguments of a call; 6 to 9 outlive calls; 10 points to the end of the stack.
pub const RESULT: Register = 0;
pub const CONTEXT: Register = 1;
pub const STACK: Register = 10;

fn instruction(code: u8, to: Register, from: Register, offset: i16, value: i32) -> u64 {
    u64::from(code)
        | u64::from(to) << 8
        | u64::from(from) << 12
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(value.cast_unsigned()) << 32
}

/// Loads 32 bits from memory.
pub fn load(to: Register, from: Register, offset: i16) -> u64 {
    instruction(0x61, to, from, offset, 0)
}

/// Copies a register.
pub fn copy(to: Register, from: Register) -> u64 {
    instruction(0xbf, to, from, 0, 0)
}

/// Sets a register.
pub fn set(to: Register, value: i32) -> u64 {
    instruction(0xb7, to, 0, 0, value)
}

/// Adds to a register.
pub fn add(to: Register, value: i32) -> u64 {
    instruction(0x07, to, 0, 0, value)
}

/// Keeps only these of the low 32 bits.
pub fn keep(to: Register, bits: u32) -> u64 {
    instruction(0x54, to, 0, 0, bits.cast_signed())
}

/// Shifts to the right.
pub fn shift_right(to: Register, bits: i32) -> u64 {
    instruction(0x77, to, 0, 0, bits)
}

/// Skips `offset` instructions if the low 32 bits are others.
pub fn skip_unless(register: Register, value: u32, offset: i16) -> u64 {
    instruction(0x56, register, 0, offset, value.cast_signed())
}

/// Calls a function of the kernel's.
pub fn call(function: i32) -> u64 {
    instruction(0x85, 0, 0, 0, function)
}

/// Ends with this result.
pub fn answer(value: i32) -> [u64; 2] {
    [set(RESULT, value), instruction(0x95, 0, 0, 0, 0)]
}

/// A test: the value of a register, of which only some bits may count.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// Instructions that bring the value into `register`.
    pub prepare: [Option<u64>; 2],
    /// Where it is.
    pub register: Register,
    /// What it must be.
    pub value: u32,
}

/// If all tests hold, ends with `result`; else goes on after itself.
pub fn rule(tests: &[Test], result: i32) -> Vec<u64> {
    let size = |test: &Test| test.prepare.iter().flatten().count() + 1;
    let mut left = tests.iter().map(size).sum::<usize>() + 2;
    let mut code = Vec::with_capacity(left);
    for test in tests {
        code.extend(test.prepare.iter().flatten());
        left -= size(test);
        code.push(skip_unless(test.register, test.value, i16::try_from(left).unwrap_or(i16::MAX)));
    }
    code.extend(answer(result));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_as_the_kernel_reads_them() {
        assert_eq!(load(2, 1, 4), 0x0000_0000_0004_1261);
        assert_eq!(set(0, -1), 0xffff_ffff_0000_00b7);
        assert_eq!(skip_unless(3, 5, 2), 0x0000_0005_0002_0356);
        let test = Test { prepare: [None, None], register: 1, value: 7 };
        assert_eq!(rule(&[test, test], 1).len(), 4);
        assert_eq!(rule(&[test, test], 1)[0], skip_unless(1, 7, 3));
    }
}
