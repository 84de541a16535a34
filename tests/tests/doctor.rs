//! `natbpf doctor` on hosts that are healthy but for one thing.

mod doctor {
    mod coverage;
    mod examination;
    mod filter;
    mod forwarding;
    mod healthy;
    mod routing;
    mod translation;
}
