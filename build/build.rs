//! Tells the program its version, and the linker how to lay it out.

mod layout;
mod version;

fn main() {
    println!("cargo::rerun-if-changed=build");
    version::tell();
    layout::arrange();
}
