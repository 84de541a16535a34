//! See `natbpf_fuzz::headers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    natbpf_fuzz::headers::check(data);
});
