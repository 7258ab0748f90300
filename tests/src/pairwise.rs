// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chooses few combinations of settings so that every pair of values of two settings meets at least once.

use std::collections::BTreeSet;

/// A pair of settings with a value each: ((setting, value), (setting, value)).
type Pair = ((usize, usize), (usize, usize));

/// Rows of value indices, one column a setting with `sizes[column]` values. The rows that cover most come first, and
/// the same `sizes` always give the same rows.
#[must_use]
pub fn covering_array(sizes: &[usize]) -> Vec<Vec<usize>> {
    let candidates = all_rows(sizes);
    let mut open: BTreeSet<Pair> = candidates.iter().flat_map(|row| pairs(row)).collect();
    let mut chosen = Vec::new();
    while !open.is_empty() {
        let gain = |row: &&Vec<usize>| pairs(row).filter(|pair| open.contains(pair)).count();
        // `max_by_key` takes the last of equals; from the end that is the first.
        let Some(best) = candidates.iter().rev().max_by_key(gain) else {
            break;
        };
        for pair in pairs(best) {
            open.remove(&pair);
        }
        chosen.push(best.clone());
    }
    chosen
}

fn all_rows(sizes: &[usize]) -> Vec<Vec<usize>> {
    sizes.iter().fold(vec![Vec::new()], |rows, size| {
        rows.iter()
            .flat_map(|row| (0..*size).map(|value| [row.as_slice(), &[value]].concat()))
            .collect()
    })
}

fn pairs(row: &[usize]) -> impl Iterator<Item = Pair> + '_ {
    (0..row.len()).flat_map(move |a| ((a + 1)..row.len()).map(move |b| ((a, row[a]), (b, row[b]))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_met() {
        let sizes = [2, 2, 4, 3, 3];
        let rows = covering_array(&sizes);
        for a in 0..sizes.len() {
            for b in (a + 1)..sizes.len() {
                for (x, y) in (0..sizes[a]).flat_map(|x| (0..sizes[b]).map(move |y| (x, y))) {
                    assert!(
                        rows.iter().any(|row| row[a] == x && row[b] == y),
                        "settings {a},{b} never have the values {x},{y}"
                    );
                }
            }
        }
        assert!(rows.len() <= 14, "{} rows are not few", rows.len());
    }

    #[test]
    fn is_deterministic() {
        assert_eq!(covering_array(&[2, 3, 4]), covering_array(&[2, 3, 4]));
    }
}
