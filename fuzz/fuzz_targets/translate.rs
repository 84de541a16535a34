//! See `natbpf_fuzz::translate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    natbpf_fuzz::translate::check(data);
});
