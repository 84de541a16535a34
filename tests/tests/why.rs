//! `natbpf why` on a cloud's node, healthy and broken.

mod why {
    mod asking;
    mod broken;
    mod dropped;
    mod healthy;
    mod ipv6;
    mod limits;
    mod long;
    mod neighbours;
    mod refused;
    mod silent;
    mod subjects;
    mod tenants;
    mod tracked;
    mod unseen;
}
