//! Random and damaged packets by the ten thousand; `cargo xtask fuzz` sends them by the million. What must be true of
//! every one is said in [`lab::fuzz`] and [`lab::fuzz::repeat`].
//!
//! `NATBPF_FUZZ_SEED` repeats a run with another seed, `NATBPF_FUZZ_PACKETS` makes it longer.

use std::env;

use lab::fuzz::{self, Options, repeat};

const SEED: u64 = 0x006e_6174_6270_6600;
const PACKETS: u64 = 60_000;

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn no_packet_leaks_and_no_checksum_breaks() {
    let (seed, packets) = (setting("NATBPF_FUZZ_SEED", SEED), setting("NATBPF_FUZZ_PACKETS", PACKETS));
    let tally = fuzz::run(Options { seed, packets, threads: 1, limit: None });
    let tally = tally.unwrap_or_else(|error| panic!("{error:#}"));
    println!("{tally}");
    let varied = [tally.translated, tally.untouched, tally.dropped].iter().all(|count| count * 10 > packets);
    assert!(varied && tally.reasons.len() > 8, "the packets are not varied enough");
}

#[test]
fn what_is_repeated_is_what_the_host_would_have_sent() {
    let (seed, packets) = (setting("NATBPF_FUZZ_SEED", SEED), setting("NATBPF_FUZZ_PACKETS", PACKETS));
    let tally = repeat::run(Options { seed, packets, threads: 1, limit: None });
    let tally = tally.unwrap_or_else(|error| panic!("{error:#}"));
    println!("{tally}");
    assert!(tally.missed * 20 < packets, "too many paths are lost");
}
