//! Linker arguments.
//!
//! - `nodelete`: the library stays mapped until the process exits. librdkafka's threads may still run while PHP unloads
//!   its extensions, and would crash at exit.
//! - `--wrap`: the `poll` of librdkafka is the one of `src/kafka/client/wrapped.rs`, and its clocks are those of the
//!   same file, which says why. Also in tests and examples, and `poll` by the name that fortified builds of C use.
//! - On macOS, whose linker has neither: PHP's symbols are found when PHP loads the library.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
            for function in ["poll", "__poll_chk", "clock_gettime", "gettimeofday"] {
                println!("cargo:rustc-link-arg=-Wl,--wrap={function}");
            }
        }
        Ok("macos") => println!("cargo:rustc-cdylib-link-arg=-Wl,-undefined,dynamic_lookup"),
        _ => {}
    }
}
