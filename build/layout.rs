//! Has the linker put the functions that an idle daemon has called next to each other.
//!
//! The kernel maps 64 KiB around every page of a program that is touched, and the compiler puts functions one crate after the
//! other: of 14 MiB of code a daemon that has done no more than start and tick held 10 in memory, where it had called 3.4.
//! What it calls stands in `functions.txt`, which `benches/layout` writes. A function that is not in there, or is no more,
//! costs memory and nothing else.
//!
//! Not all linkers can do it. So a small program is linked that way first and run; if that fails, there is no arrangement.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Addresses that are known only at the start, packed: one bit each in place of 24 bytes, all of which the start reads.
/// The loader has to know them (glibc 2.36, musl 1.2.4).
const PACKED: &str = "-Wl,-z,pack-relative-relocs";

pub(super) fn arrange() {
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let is_linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    // What is built for another machine cannot be tried.
    if !is_release || !is_linux || env::var("HOST") != env::var("TARGET") {
        return;
    }
    let folder = PathBuf::from(env::var("OUT_DIR").expect("cargo tells it"));
    let script = folder.join("layout.ld");
    fs::write(&script, script_of(include_str!("functions.txt"))).expect("cargo has made the folder");
    for argument in [format!("-T{}", script.display()), PACKED.to_owned()] {
        if links(&argument, &folder) {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}

/// A linker script that adds to the linker's own. Each function and its constants have a section named after it, in which
/// `unlikely` stands for what the compiler takes for rarely called. Constants without a name are tables, which few need, and
/// texts, of which a start needs some: these have the smallest alignment, so they come last, next to what is used.
fn script_of(functions: &str) -> String {
    let of = |section: &str, names: &[String]| -> String {
        names.iter().map(|name| format!("    *({section}.{name} {section}.unlikely.{name})\n")).collect()
    };
    let Names { called, others } = Names::of(functions);
    let (code, other_code) = (of(".text", &called), of(".text", &others));
    let (constants, other_constants) = (of(".rodata", &called), of(".rodata", &others));
    format!(
        "SECTIONS\n{{\n  .text :\n  {{\n{code}{other_code}  }}\n}}\nINSERT BEFORE .init;\n\
         SECTIONS\n{{\n  .rodata :\n  {{\n    *(SORT_BY_ALIGNMENT(.rodata..Lanon*))\n{constants}    *(.rodata.cst*)\n    \
         *(.rodata.str*)\n{other_constants}  }}\n}}\nINSERT BEFORE .eh_frame_hdr;\n"
    )
}

/// Symbols, with `*` for what may differ.
#[derive(Default)]
struct Names {
    called: Vec<String>,
    /// The same generic functions for other types, which comes to all of them if another compiler makes other hashes: a
    /// section goes to the first name that fits.
    others: Vec<String>,
}

impl Names {
    fn of(functions: &str) -> Self {
        let mut names = Self::default();
        for line in functions.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, hashes)) = line.split_once(' ') else {
                names.called.push(line.to_owned());
                continue;
            };
            let start = name.trim_end_matches('*');
            names.called.extend(hashes.split(' ').map(|hash| format!("{start}{hash}E*")));
            names.others.push(name.to_owned());
        }
        names
    }
}

/// Whether a program linked with `argument`, and otherwise as this one will be, runs.
fn links(argument: &str, folder: &Path) -> bool {
    let source = folder.join("trial.rs");
    let program = folder.join("trial");
    fs::write(&source, "fn main() { println!(\"{}\", std::env::args().count()); }").expect("cargo has made the folder");
    let mut compile = Command::new(env::var_os("RUSTC").expect("cargo tells it"));
    compile.arg(&source).arg("-o").arg(&program).args(["--target", &env::var("TARGET").expect("cargo tells it")]);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut flag = std::ffi::OsString::from("linker=");
        flag.push(linker);
        compile.arg("-C").arg(flag);
    }
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    compile.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    compile.arg("-C").arg(format!("link-arg={argument}"));
    succeeds(&mut compile) && succeeds(&mut Command::new(program))
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
