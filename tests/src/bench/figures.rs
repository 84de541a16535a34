//! Every figure of every round, and what they say together.

use super::measure::Measure;

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    pub measure: Measure,
    /// The name of the side.
    pub side: String,
    /// From 0.
    pub round: u32,
    pub value: f64,
}

/// The figures of a side for a measure, over the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub minimum: f64,
    pub maximum: f64,
}

impl Summary {
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (minimum, maximum) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Self { median, minimum, maximum })
    }
}

#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub all: Vec<Figure>,
}

impl Figures {
    /// What was measured, in the order of the report.
    pub fn measures(&self) -> Vec<Measure> {
        let mut measures: Vec<_> = self.all.iter().map(|figure| figure.measure).collect();
        measures.sort_unstable();
        measures.dedup();
        measures
    }

    pub fn summary(&self, measure: Measure, side: &str) -> Option<Summary> {
        let of_it = self.all.iter().filter(|figure| figure.measure == measure && figure.side == side);
        Summary::of(of_it.map(|figure| figure.value).collect())
    }

    /// How many times as good `side` is as `reference`, by the medians: more than 1 is better, whether the
    /// figures are costs or rates.
    pub fn times(&self, measure: Measure, side: &str, reference: &str) -> Option<f64> {
        let [this, other] = [side, reference].map(|name| self.summary(measure, name));
        let (this, other) = (this?.median, other?.median);
        let (better, worse) = if measure.more_is_better() { (this, other) } else { (other, this) };
        (worse > 0.0).then_some(better / worse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(measure: Measure, sides: &[(&str, &[f64])]) -> Figures {
        let figure = |side: &str, round: usize, value| Figure {
            measure,
            side: side.to_owned(),
            round: round as u32,
            value,
        };
        let values = |(side, values): &(&str, &[f64])| -> Vec<Figure> {
            values.iter().enumerate().map(|(round, value)| figure(side, round, *value)).collect()
        };
        Figures { all: sides.iter().flat_map(values).collect() }
    }

    #[test]
    fn medians_are_of_the_rounds_of_one_side() {
        let figures = figures(Measure::NewFlows, &[("a", &[900.0, 100.0, 300.0]), ("b", &[2.0, 1.0])]);
        let a = figures.summary(Measure::NewFlows, "a");
        assert_eq!(a, Some(Summary { median: 300.0, minimum: 100.0, maximum: 900.0 }));
        assert_eq!(figures.summary(Measure::NewFlows, "b").map(|b| b.median), Some(1.5));
        assert_eq!(figures.summary(Measure::Host, "a"), None);
        assert_eq!(figures.measures(), [Measure::NewFlows]);
    }

    #[test]
    fn more_than_one_is_better_for_costs_and_for_rates() {
        let costs = figures(Measure::NewFlows, &[("iptables", &[4000.0]), ("natbpf", &[1000.0])]);
        assert_eq!(costs.times(Measure::NewFlows, "natbpf", "iptables"), Some(4.0));
        let rates = figures(Measure::Requests, &[("iptables", &[4000.0]), ("natbpf", &[1000.0])]);
        assert_eq!(rates.times(Measure::Requests, "natbpf", "iptables"), Some(0.25));
        assert_eq!(rates.times(Measure::Requests, "natbpf", "nobody"), None);
    }
}
