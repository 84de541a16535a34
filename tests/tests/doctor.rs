//! `natbpf doctor` on hosts that are healthy but for one thing.

mod doctor {
    mod addressing;
    mod bridge_filter;
    mod bridging;
    mod commands;
    mod conntrack;
    mod coverage;
    mod dhcp;
    mod dns;
    mod examination;
    mod filter;
    mod forwarding;
    mod guests;
    mod healthy;
    mod host;
    mod input;
    mod links;
    mod neighbours;
    mod networks;
    mod offloads;
    mod own;
    mod policy;
    mod pretence;
    mod proxy;
    mod queues;
    mod routing;
    mod schema;
    mod sizes;
    mod stations;
    mod translation;
    mod unseen;
    mod vlans;
    mod vrfs;
    mod wiring;
}
