//! Which namespaces are in the middle: packets that leave this one come back by another device.

use std::collections::{BTreeMap, BTreeSet};

use super::number::Number;

/// A namespace; `None` is this one.
pub type Place = Option<Number>;

/// How many pairs of devices join two namespaces.
#[derive(Clone, Debug, Default)]
pub struct Joints(BTreeMap<Place, BTreeMap<Place, usize>>);

impl Joints {
    /// Each of the two may know of more of them than the other.
    pub fn join(&mut self, one: Place, other: Place, pairs: usize) {
        for (from, to) in [(one, other), (other, one)] {
            let known = self.0.entry(from).or_default().entry(to).or_default();
            *known = pairs.max(*known);
        }
    }

    fn of(&self, place: Place) -> impl Iterator<Item = (Place, usize)> {
        self.0.get(&place).into_iter().flatten().map(|(other, pairs)| (*other, *pairs))
    }

    /// Those that packets can leave by another way than they came, as far as devices go: what hangs on one alone is
    /// an end, and so is what has nothing else than such.
    pub fn crossed(&self) -> BTreeSet<Number> {
        let mut left: BTreeSet<Number> = self.0.keys().copied().flatten().collect();
        loop {
            let ways = |place: Number| -> usize {
                let there = |other: &Place| other.is_none_or(|other| left.contains(&other));
                self.of(Some(place)).filter(|(other, _)| there(other)).map(|(_, pairs)| pairs).sum()
            };
            let ends: Vec<Number> = left.iter().copied().filter(|place| ways(*place) < 2).collect();
            if ends.is_empty() {
                return left;
            }
            left.retain(|place| !ends.contains(place));
        }
    }

    /// Those in the middle. `passes` says whether a namespace routes or bridges. A packet passes no pair of devices
    /// twice, there and back: so two ways lead to each of them from here that have no pair in common.
    pub fn middle(&self, passes: impl Fn(Number) -> bool) -> BTreeSet<Number> {
        let passing: BTreeSet<Number> = self.crossed().into_iter().filter(|place| passes(*place)).collect();
        let mut middle = self.reached(&passing, None);
        for (one, others) in &self.0 {
            let alone = others.iter().filter(|(other, pairs)| **pairs == 1 && one < other);
            for (other, _) in
                alone.filter(|(other, _)| is_one_of(&passing, *one) && is_one_of(&passing, **other))
            {
                middle = &middle & &self.reached(&passing, Some((*one, *other)));
            }
        }
        middle
    }

    /// Where packets come from here, without a pair of devices.
    fn reached(&self, passing: &BTreeSet<Number>, without: Option<(Place, Place)>) -> BTreeSet<Number> {
        let (mut reached, mut next) = (BTreeSet::new(), vec![None]);
        while let Some(here) = next.pop() {
            for (other, _) in self.of(here) {
                let closed = without.is_some_and(|pair| pair == (here, other) || pair == (other, here));
                if let Some(number) = other.filter(|_| !closed)
                    && passing.contains(&number)
                    && reached.insert(number)
                {
                    next.push(other);
                }
            }
        }
        reached
    }
}

fn is_one_of(passing: &BTreeSet<Number>, place: Place) -> bool {
    place.is_none_or(|place| passing.contains(&place))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [i32; 0] = [];

    /// Of joints between namespaces, where 0 is this one, and those that pass packets on.
    fn middle(joints: &[(i32, i32, usize)], passing: &[i32]) -> Vec<i32> {
        let place = |number: i32| (number != 0).then_some(number);
        let mut all = Joints::default();
        for (one, other, pairs) in joints {
            all.join(place(*one), place(*other), *pairs);
        }
        all.middle(|number| passing.contains(&number)).into_iter().collect()
    }

    #[test]
    fn a_router_with_two_devices_here_is_in_the_middle_and_a_container_is_an_end() {
        assert_eq!(middle(&[(0, 1, 2), (0, 2, 1)], &[1, 2]), [1]);
        assert_eq!(middle(&[(0, 1, 2)], &[]), NONE, "it passes nothing on");
        assert_eq!(middle(&[(0, 1, 3), (0, 2, 2)], &[1, 2]), [1, 2]);
    }

    #[test]
    fn routers_one_behind_the_other_are_in_the_middle_where_the_last_leads_back() {
        assert_eq!(middle(&[(0, 1, 1), (1, 2, 1), (2, 0, 1)], &[1, 2]), [1, 2]);
        assert_eq!(middle(&[(0, 1, 1), (1, 2, 1)], &[1, 2]), NONE);
        assert_eq!(middle(&[(0, 1, 1), (1, 2, 1), (2, 0, 1)], &[1]), NONE, "the second passes nothing on");
        assert_eq!(
            middle(&[(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 0, 1), (2, 4, 1)], &[1, 2, 3, 4]),
            [1, 2, 3]
        );
    }

    #[test]
    fn what_is_behind_a_single_device_is_an_end_whatever_is_there() {
        // Two namespaces that are joined twice, and here once.
        assert_eq!(middle(&[(0, 1, 1), (1, 2, 2)], &[1, 2]), NONE);
        // A ring behind one.
        assert_eq!(middle(&[(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 1, 1)], &[1, 2, 3]), NONE);
        assert_eq!(middle(&[(0, 1, 2), (1, 2, 1), (2, 3, 2)], &[1, 2, 3]), [1], "behind a router, too");
    }

    #[test]
    fn a_firewall_that_hangs_on_a_router_by_two_devices_is_in_the_middle() {
        assert_eq!(middle(&[(0, 1, 2), (1, 2, 2)], &[1, 2]), [1, 2]);
    }

    #[test]
    fn each_side_may_know_of_more() {
        let mut joints = Joints::default();
        joints.join(None, Some(1), 1);
        joints.join(Some(1), None, 2);
        assert_eq!(joints.middle(|_| true), BTreeSet::from([1]));
    }

    #[test]
    fn many_containers_are_ends() {
        let joints: Vec<_> = (1..=5000).map(|number| (0, number, 1)).collect();
        assert_eq!(middle(&joints, &(1..=5000).collect::<Vec<_>>()), NONE);
    }
}
