//! Which instance serves next: the one with the smallest share of its slots in use. Pure.

/// What the choice looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Calls it serves now.
    pub in_use: usize,
    /// Calls that it can serve at once.
    pub slots: usize,
}

/// Index of the least loaded instance with a free slot; the earlier one on a tie.
pub fn least_loaded(loads: impl IntoIterator<Item = Load>) -> Option<usize> {
    loads
        .into_iter()
        .enumerate()
        .filter(|(_, load)| load.in_use < load.slots)
        // in_use / slots compared without division: a/b < c/d  <=>  a*d < c*b
        .min_by(|(_, a), (_, b)| (a.in_use * b.slots).cmp(&(b.in_use * a.slots)))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(loads: &[(usize, usize)]) -> Option<usize> {
        least_loaded(loads.iter().map(|&(in_use, slots)| Load { in_use, slots }))
    }

    #[test]
    fn picks_the_smallest_share_in_use() {
        for (loads, expected) in [
            (&[(0, 1), (0, 1)][..], Some(0)),
            (&[(1, 2), (1, 4)], Some(1)),
            (&[(1, 1), (3, 4)], Some(1)),
            (&[(1, 1), (4, 4)], None),
            (&[(0, 0)], None),
            (&[], None),
        ] {
            assert_eq!(pick(loads), expected, "{loads:?}");
        }
    }
}
