//! The flow table as text.

use crate::conformance::prelude::*;
use crate::conformance::tcp;
use crate::ends::tools::ping;
use crate::gateway::flows::Tuple;

pub fn a_line_for_each_flow_in_the_order_of_conntrack(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let udp = Reflector::start(&bed.out1, (OUT1, 9))?;
    let _tcp = tcp::Server::start(&bed.out1, (OUT1, 80))?;
    for port in 5000..5004 {
        bed.udp_mapping(&bed.in1, port, &udp)?;
    }
    let streams = (40000..40004).map(|port| tcp::connect(&bed.in1, port, (OUT1, 80)));
    let _streams = streams.collect::<Result<Vec<_>>>()?;
    ping(&bed.in1, OUT1, "-c 1 -e 77")?;
    ping(&bed.in2, OUT1, "-c 1 -e 78")?;

    // Parsing is the test that every line is one of `conntrack -L`.
    let flows = nat.flows()?;
    let inside = |flow: &&crate::gateway::flows::Flow| flow.original.src.octets()[0] == 10;
    let mut seen: Vec<_> = flows
        .iter()
        .filter(inside)
        .map(|flow| (flow.protocol.clone(), flow.protocol_number, flow.original, flow.reply))
        .collect();
    seen.sort();
    let flow = |protocol: &str, number, src, sport, dport| {
        let original = Tuple { src, dst: OUT1, sport, dport };
        let reply = Tuple { src: OUT1, dst: GW, sport: dport, dport: sport };
        (protocol.to_owned(), number, original, reply)
    };
    let mut expected = vec![flow("icmp", 1, IN1, 77, 77), flow("icmp", 1, IN2, 78, 78)];
    expected.extend((40000..40004).map(|port| flow("tcp", 6, IN1, port, 80)));
    expected.extend((5000..5004).map(|port| flow("udp", 17, IN1, port, 9)));
    expect!(seen == expected, "the table is\n{}", nat.flows_text()?);
    Ok(Meets)
}
