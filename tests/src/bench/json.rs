//! The report for programs: every figure of every round, and what they say together.

use serde_json::{Value, json};

use super::figures::Figures;
use super::options::Plan;
use super::side::Kind;

pub fn report(
    figures: &Figures,
    sides: &[String],
    plan: &Plan,
    environment: Value,
    left_out: &[String],
) -> Value {
    let options: Vec<String> = std::env::args().skip(1).collect();
    let all: Vec<Value> = figures
        .all
        .iter()
        .map(|figure| {
            json!({
                "measure": figure.measure.to_string(),
                "unit": figure.measure.unit(),
                "side": figure.side,
                "round": figure.round,
                "value": figure.value,
            })
        })
        .collect();
    let mut summary = Vec::new();
    for measure in figures.measures() {
        for side in sides {
            let Some(of_it) = figures.summary(measure, side) else { continue };
            summary.push(json!({
                "measure": measure.to_string(),
                "unit": measure.unit(),
                "side": side,
                "median": of_it.median,
                "minimum": of_it.minimum,
                "maximum": of_it.maximum,
                "per_second": measure.per_second(of_it.median),
                "times_iptables": figures.times(measure, side, Kind::Iptables.name()),
                "times_nft": figures.times(measure, side, Kind::Nft.name()),
                "times_plain": figures.times(measure, side, Kind::Plain.name()),
            }));
        }
    }
    json!({
        "environment": environment,
        "options": options,
        "topology": plan.setting.topology.name(),
        "family": plan.setting.family.name(),
        "order": plan.order.name(),
        "left_out": left_out,
        "summary": summary,
        "figures": all,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::bench::figures::Figure;
    use crate::bench::measure::Measure;
    use crate::bench::options::Options;

    #[test]
    fn every_figure_is_there_with_its_round() {
        let figure = |side: &str, round, value| Figure {
            measure: Measure::Requests,
            side: side.to_owned(),
            round,
            value,
        };
        let iptables = Kind::Iptables.name();
        let figures =
            Figures { all: vec![figure(iptables, 0, 10.0), figure("a", 0, 20.0), figure("a", 1, 40.0)] };
        let sides = [iptables.to_owned(), "a".to_owned()];
        let plan = Plan::new(&Options::parse_from(["bench", "--topology", "host", "--order", "zipf"]));
        let report = report(&figures, &sides, &plan, json!({ "kernel": "6.1" }), &["b: no".to_owned()]);
        assert_eq!(report["figures"].as_array().map(Vec::len), Some(3));
        assert_eq!(
            report["figures"][2],
            json!({ "measure": "TCP requests", "unit": "1/s", "side": "a", "round": 1, "value": 40.0 })
        );
        let summary = &report["summary"][1];
        assert_eq!((summary["median"].as_f64(), summary["times_iptables"].as_f64()), (Some(30.0), Some(3.0)));
        assert!(summary["times_plain"].is_null() && summary["per_second"].is_null());
        assert_eq!(report["environment"]["kernel"], "6.1");
        let setting = ["topology", "family", "order"].map(|name| report[name].as_str());
        assert_eq!(setting, [Some("host"), Some("IPv4"), Some("Zipf order")]);
        assert_eq!(report["left_out"][0], "b: no");
    }
}
