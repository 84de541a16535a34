//! Circles in a graph.

use std::collections::BTreeSet;

/// The groups of more than one node in which each is reached from each; `edges` are of `count` nodes.
pub fn circles(count: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let reached: Vec<_> = (0..count).map(|node| reached_from(node, edges)).collect();
    let mut circles = BTreeSet::new();
    for node in 0..count {
        let circle: Vec<_> =
            reached[node].iter().copied().filter(|&other| reached[other].contains(&node)).collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn reached_from(node: usize, edges: &[(usize, usize)]) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut due = vec![node];
    while let Some(node) = due.pop() {
        for &(_, to) in edges.iter().filter(|(from, _)| *from == node) {
            if reached.insert(to) {
                due.push(to);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn way_down_is_no_circle() {
        assert!(circles(4, &[(0, 1), (0, 2), (1, 3), (2, 3)]).is_empty());
    }

    #[test]
    fn circles_that_share_a_node_are_one() {
        assert_eq!(
            circles(6, &[(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (4, 5), (5, 4)]),
            [vec![0, 1, 2], vec![4, 5]]
        );
    }
}
