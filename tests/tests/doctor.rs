//! `natbpf doctor` on hosts that are healthy but for one thing.

mod doctor {
    mod addressing;
    mod bridging;
    mod coverage;
    mod examination;
    mod filter;
    mod forwarding;
    mod healthy;
    mod links;
    mod neighbours;
    mod networks;
    mod routing;
    mod sizes;
    mod stations;
    mod translation;
    mod vlans;
    mod wiring;
}
