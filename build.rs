//! Links with `nodelete` so that the library stays mapped until the process exits: librdkafka's threads may still run
//! while PHP unloads its extensions, and would crash at exit.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
