//! `natbpf doctor` on hosts that are healthy but for one thing.

mod doctor {
    mod bridge_filter;
    mod conntrack;
    mod coverage;
    mod dhcp;
    mod dns;
    mod examination;
    mod filter;
    mod forwarding;
    mod healthy;
    mod host;
    mod input;
    mod offloads;
    mod own;
    mod policy;
    mod pretence;
    mod proxy;
    mod queues;
    mod routing;
    mod schema;
    mod translation;
    mod unseen;
}
