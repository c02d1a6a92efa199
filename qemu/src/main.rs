//! The command line of the harness.

fn main() -> std::process::ExitCode {
    qemu::cli::main()
}
