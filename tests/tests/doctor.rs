//! `natbpf doctor` on hosts that are healthy but for one thing.

mod doctor {
    mod bridging;
    mod coverage;
    mod examination;
    mod filter;
    mod forwarding;
    mod healthy;
    mod links;
    mod routing;
    mod stations;
    mod translation;
    mod vlans;
    mod wiring;
}
