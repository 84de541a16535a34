//! See `natbpf_fuzz::headers6`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    natbpf_fuzz::headers6::check(data);
});
