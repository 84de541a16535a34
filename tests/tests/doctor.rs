//! `natbpf doctor` on hosts that are healthy but for one thing.

mod doctor {
    mod bridge_filter;
    mod conntrack;
    mod coverage;
    mod examination;
    mod filter;
    mod forwarding;
    mod healthy;
    mod input;
    mod policy;
    mod proxy;
    mod routing;
    mod translation;
}
