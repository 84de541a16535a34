//! See `natbpf_fuzz::quote`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    natbpf_fuzz::quote::check(data);
});
