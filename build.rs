//! Keeps the library mapped until the process is gone: librdkafka's threads may still run while PHP unloads its extensions, and
//! would crash it at exit.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
