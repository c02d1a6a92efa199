//! The coreutils, findutils, grep and sed of the uutils project, one function an applet.
//!
//! Each is a program of its own upstream; what their `main` does around `uumain` is done here:
//! messages in the right language, the usual death by a closed pipe, and a flushed standard output.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Declares applets: `name => crate` gives `pub fn name`.
macro_rules! applets {
    ($($name:ident => $krate:ident, $text:literal;)*) => {
        $(
            #[doc = $text]
            pub fn $name(args: Vec<OsString>) -> ExitCode {
                run(stringify!($krate), args, |args| $krate::uumain(args.into_iter()))
            }
        )*
    };
}

applets! {
    base64 => uu_base64, "`base64`";
    basename => uu_basename, "`basename`";
    cat => uu_cat, "`cat`";
    chmod => uu_chmod, "`chmod`";
    chown => uu_chown, "`chown`";
    cp => uu_cp, "`cp`";
    cut => uu_cut, "`cut`";
    date => uu_date, "`date`";
    dd => uu_dd, "`dd`";
    df => uu_df, "`df`";
    dirname => uu_dirname, "`dirname`";
    du => uu_du, "`du`";
    echo => uu_echo, "`echo`";
    env => uu_env, "`env`";
    head => uu_head, "`head`";
    hostname => uu_hostname, "`hostname`";
    id => uu_id, "`id`";
    kill => uu_kill, "`kill`";
    ln => uu_ln, "`ln`";
    ls => uu_ls, "`ls`";
    md5sum => uu_md5sum, "`md5sum`";
    mkdir => uu_mkdir, "`mkdir`";
    mkfifo => uu_mkfifo, "`mkfifo`";
    mknod => uu_mknod, "`mknod`";
    mktemp => uu_mktemp, "`mktemp`";
    more => uu_more, "`more`";
    mv => uu_mv, "`mv`";
    nice => uu_nice, "`nice`";
    nohup => uu_nohup, "`nohup`";
    nproc => uu_nproc, "`nproc`";
    od => uu_od, "`od`";
    printenv => uu_printenv, "`printenv`";
    printf => uu_printf, "`printf`";
    pwd => uu_pwd, "`pwd`";
    readlink => uu_readlink, "`readlink`";
    realpath => uu_realpath, "`realpath`";
    rm => uu_rm, "`rm`";
    rmdir => uu_rmdir, "`rmdir`";
    seq => uu_seq, "`seq`";
    sha256sum => uu_sha256sum, "`sha256sum`";
    sleep => uu_sleep, "`sleep`";
    sort => uu_sort, "`sort`";
    split => uu_split, "`split`";
    stat => uu_stat, "`stat`";
    stty => uu_stty, "`stty`";
    sync => uu_sync, "`sync`";
    tail => uu_tail, "`tail`";
    tee => uu_tee, "`tee`";
    test => uu_test, "`test`";
    timeout => uu_timeout, "`timeout`";
    touch => uu_touch, "`touch`";
    tr => uu_tr, "`tr`";
    truncate => uu_truncate, "`truncate`";
    tty => uu_tty, "`tty`";
    uname => uu_uname, "`uname`";
    uniq => uu_uniq, "`uniq`";
    wc => uu_wc, "`wc`";
    whoami => uu_whoami, "`whoami`";
    yes => uu_yes, "`yes`";
    r#true => uu_true, "`true`";
    r#false => uu_false, "`false`";
}

/// `grep`
pub fn grep(mut args: Vec<OsString>) -> ExitCode {
    // Upstream colours a terminal's lines unasked; GNU's waits for `--color`. The last one given counts.
    args.insert(args.len().min(1), "--color=never".into());
    run("uu_grep", args, |args| uu_grep::uumain(args.into_iter()))
}

/// `sed`
pub fn sed(args: Vec<OsString>) -> ExitCode {
    run("uu_sed", args, |args| sed::sed::uumain(args.into_iter()))
}

/// `find`
pub fn find(args: Vec<OsString>) -> ExitCode {
    run("uu_find", args, |args| {
        with_text(&args, |args| {
            findutils::find::find_main(args, &findutils::find::StandardDependencies::new())
        })
    })
}

/// `xargs`
pub fn xargs(args: Vec<OsString>) -> ExitCode {
    run("uu_xargs", args, |args| with_text(&args, findutils::xargs::xargs_main))
}

/// The users of DynamicUser=: in no file, but owners of files and processes.
const DYNAMIC_USERS: linux::names::Others = linux::names::Others {
    name_of: |uid| accounts::dynamic::name_of(Path::new(accounts::dynamic::FOLDER), uid),
    number_of: |name| accounts::dynamic::number_of(Path::new(accounts::dynamic::FOLDER), name),
};

/// Runs one program of the project as its own `main` would.
fn run(krate: &str, args: Vec<OsString>, main: impl FnOnce(Vec<OsString>) -> i32) -> ExitCode {
    if !crate::called_by_name(&args) {
        uucore::set_utility_is_second_arg();
    }
    linux::names::also_known(DYNAMIC_USERS);
    // A reader that went away ends us quietly, as it does every Unix tool.
    let _ = uucore::signals::enable_pipe_errors();
    // Without its messages a tool still works: it then prints their names.
    let _ = uucore::locale::setup_localization(uucore::get_canonical_util_name(krate));
    let code = main(args);
    let flushed = std::io::stdout().flush();
    match u8::try_from(code) {
        Ok(0) if flushed.is_err() => ExitCode::FAILURE,
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Calls a program that takes its arguments as text.
fn with_text(args: &[OsString], main: impl FnOnce(&[&str]) -> i32) -> i32 {
    match args.iter().map(|arg| arg.to_str()).collect::<Option<Vec<_>>>() {
        Some(args) => main(&args),
        None => {
            let name = args.first().map(|arg| arg.to_string_lossy()).unwrap_or_default();
            eprintln!("{name}: an argument is not UTF-8");
            1
        }
    }
}
